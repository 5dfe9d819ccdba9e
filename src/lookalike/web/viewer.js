// One image, large: the others by arrow keys, and all that can be asked by it.

import * as api from "./api.js";
import { meaning, percent } from "./grid.js";
import * as state from "./state.js";

const SMALL = 64;

const make = (name, properties = {}, ...children) => {
  const { dataset, attributes, ...rest } = properties;
  const element = Object.assign(document.createElement(name), rest);
  Object.assign(element.dataset, dataset ?? {});
  for (const [key, value] of Object.entries(attributes ?? {})) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

const button = (text, work, title = "") => make("button", { type: "button", textContent: text, title, onclick: work });

export function openViewer(dialog, list, start, { facts, tell, act, query, crop }) {
  let at = start;
  const close = () => dialog.close();

  async function show() {
    const item = list[at];
    const name = item.name ?? item.id;
    const picture = make("img", { src: item.id ? api.picture(item.id) : api.uploaded(item.upload), alt: name, draggable: false });
    const stage = make("div", { className: "stage" }, picture);
    picture.addEventListener("load", () =>
      stage.classList.toggle("small", Math.max(picture.naturalWidth, picture.naturalHeight) <= SMALL));
    const list_ = make("dl");
    const out = make("div", { className: "pair" });
    const buttons = make("div", { className: "buttons" });
    const note = make("p", { className: "note", textContent: "Drag over the picture to search by a part of it." });
    const source = item.id ? { id: item.id } : { upload: item.upload };
    if (!crop) {
      buttons.append(
        button("Search by it", () => (close(), state.ask({ images: [source] }))),
        button("Find duplicates", () => (close(), state.ask({ images: [source], within: duplicateDistance(facts) }))),
        ...(item.id ? [
          button("More like it", () => (close(), act("like", item))),
          button("Less like it", () => (close(), act("dislike", item))),
          button("Copy path", async () => {
            await navigator.clipboard.writeText(item.id).then(() => tell("Copied."), () => tell(item.id));
          }),
          make("a", { href: api.original(item.id), download: "", textContent: "Original", className: "button" }),
        ] : []),
        button("Denoise", () => state.write({ ...state.read(), tab: "denoise", query: { ...query, images: [source] } })),
      );
      if (item.rank && query.images.length) buttons.append(button("Why?", () => why(item, query, out, tell)));
    }
    dialog.replaceChildren(
      make("header", {},
        make("h2", { id: "viewer-title", textContent: name }),
        make("div", { className: "row" },
          ...(list.length > 1 ? [button("\u2190", () => step(-1), "Previous (arrow left)"), button("\u2192", () => step(1), "Next (arrow right)")] : []),
          make("button", { type: "button", textContent: "\u00d7", title: "Close (Escape)", onclick: close, attributes: { "aria-label": "Close" } }))),
      stage,
      make("div", { className: "side" }, buttons, note, list_, out),
    );
    cropping(stage, picture, item, (box) => {
      close();
      if (crop) crop(box);
      else state.ask({ images: [{ ...source, crop: box }] });
    });
    const known = [
      item.rank && ["Rank", item.rank],
      item.similarity !== undefined && item.similarity !== null && ["Similarity", `${percent(item.similarity)} (distance ${item.distance.toFixed(4)})`],
      meaning(item.p_value) && ["Meaning", meaning(item.p_value)],
      item.inliers && ["Keypoints", `${item.inliers} agree`],
      item.group?.length && ["Folded in", item.group.join(", ")],
    ].filter(Boolean);
    fill(list_, known);
    if (item.id) {
      try {
        const stored = await api.image(item.id);
        const { id, label, caption, metadata, width, height, size, ...others } = stored;
        if (list[at] !== item) return;
        fill(list_, [
          ...known,
          ["Size", width ? `${width} x ${height} pixels, ${bytes(size)}` : ""],
          ["Label", label], ["Caption", caption], ...Object.entries(metadata ?? {}), ...Object.entries(others),
        ].filter(([, value]) => value));
      } catch (error) {
        tell(error.message);
      }
    }
  }

  function step(by) {
    at = Math.min(list.length - 1, Math.max(0, at + by));
    show();
  }
  dialog.onkeydown = (event) => {
    if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
  };
  dialog.onclick = (event) => {
    if (event.target === dialog) close();
  };
  if (!dialog.open) dialog.showModal();
  show();
}

const fill = (list, pairs) =>
  list.replaceChildren(...pairs.flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: String(value) })]));

const bytes = (size) => (size > 1e6 ? `${(size / 1e6).toFixed(1)} MB` : `${Math.ceil(size / 1e3)} KB`);

const duplicateDistance = (facts) => (facts && !facts.distances.includes(facts.encoders[0]?.distance) ? 8 : 0.02);

// A box drawn on the picture, in pixels of the upright original.
function cropping(stage, picture, item, done) {
  let begun = null;
  const box = make("div", { className: "crop", hidden: true });
  stage.append(box);
  const inside = (event) => {
    const shown = picture.getBoundingClientRect();
    return [
      Math.min(shown.width, Math.max(0, event.clientX - shown.left)),
      Math.min(shown.height, Math.max(0, event.clientY - shown.top)),
    ];
  };
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    begun = inside(event);
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!begun) return;
    const [x, y] = inside(event), shown = picture.getBoundingClientRect(), outer = stage.getBoundingClientRect();
    Object.assign(box.style, {
      left: `${shown.left - outer.left + Math.min(x, begun[0])}px`, top: `${shown.top - outer.top + Math.min(y, begun[1])}px`,
      width: `${Math.abs(x - begun[0])}px`, height: `${Math.abs(y - begun[1])}px`,
    });
    box.hidden = false;
  });
  stage.addEventListener("pointerup", async (event) => {
    if (!begun) return;
    const [x, y] = inside(event), from = begun;
    begun = null;
    if (Math.abs(x - from[0]) < 6 || Math.abs(y - from[1]) < 6) {
      box.hidden = true;
      return;
    }
    const shown = picture.getBoundingClientRect();
    const whole = await originalSize(picture, item);
    const across = whole.width / shown.width, down = whole.height / shown.height;
    const left = Math.floor(Math.min(x, from[0]) * across), top = Math.floor(Math.min(y, from[1]) * down);
    const right = Math.min(whole.width, Math.ceil(Math.max(x, from[0]) * across));
    const bottom = Math.min(whole.height, Math.ceil(Math.max(y, from[1]) * down));
    done([left, top, Math.max(1, right - left), Math.max(1, bottom - top)]);
  });
}

async function originalSize(picture, item) {
  if (item.id) {
    const stored = await api.image(item.id).catch(() => ({}));
    if (stored.width) return stored;
  } else {
    const response = await fetch(api.uploaded(item.upload), { method: "HEAD" }).catch(() => null);
    const size = response?.headers.get("x-image-size")?.split("x").map(Number);
    if (size) return { width: size[0], height: size[1] };
  }
  return { width: picture.naturalWidth, height: picture.naturalHeight };
}

async function why(item, query, out, tell) {
  out.replaceChildren(make("p", { textContent: "Computing the explanation ..." }));
  try {
    const explanation = await api.explain({ image: query.images[0], match: item.id, encoder: query.encoder ?? null });
    out.replaceChildren(
      make("figure", {}, make("img", { src: explanation.query, alt: "The query, with the parts that account for the similarity" }), make("figcaption", { textContent: "Query" })),
      make("figure", {}, make("img", { src: explanation.match, alt: "The match, with the parts that account for the similarity" }), make("figcaption", { textContent: "Match" })),
      make("p", { textContent: explanation.message }),
    );
  } catch (error) {
    out.replaceChildren();
    tell(error.message);
  }
}
