// One image, large: the others by arrow keys and swipes, and all that can be asked by it.

import * as api from "./api.js";
import { Stage } from "./stage.js";
import * as state from "./state.js";
import { copy, make, meaning, named, nameOf, percent, tell } from "./words.js";

// Whole pictures are asked for so large when one looks closer.
const CLOSER = 4096;

const button = (text, work, title = "", attributes = {}) => make("button", { type: "button", textContent: text, title, onclick: work, attributes });

// Close without a step back: what is asked next takes the viewer's place in the history.
let leave = () => {};
export const closeViewer = () => leave();

// `grid` holds the items and can load more of them; `onSeen(at)` is told which was seen last.
export function openViewer(dialog, grid, start, { facts, act, query, crop, onSeen = () => {} }) {
  const list = grid.items;
  let at = start, closer = false;
  const stage = new Stage({
    onStep: (by) => step(by),
    onPart: (there) => part.replaceChildren(...(there ? [
      button(crop ? "Use this part" : "Search by this part", searchPart, "Enter", { class: "main" }), button("Whole picture", () => stage.drop())] : [])),
    onZoom: (scale) => {
      if (scale * (devicePixelRatio || 1) < sideNow() / Math.max(stage.size.width, stage.size.height) * 1.01 || closer || !list[at].id) return;
      closer = true; // more pixels are shown than were asked for
      stage.sharpen(api.picture(list[at].id, CLOSER));
    },
  });
  const part = make("div", { className: "part" });
  const sideNow = () => (Math.max(innerWidth, innerHeight) * (devicePixelRatio || 1) > 1100 ? 2048 : 1024);
  const source = () => (list[at].id ? { id: list[at].id } : { upload: list[at].upload });
  const asking = (work) => () => {
    leave();
    work();
  };
  const searchPart = asking(() => (crop ? crop(stage.pixels) : state.ask({ images: [{ ...source(), crop: stage.pixels }] })));

  const title = make("h2", { id: "viewer-title" });
  const facts_ = make("dl"), out = make("div", { className: "pair", hidden: true });
  const buttons = make("div", { className: "buttons" });
  const caption = make("p", { className: "caption" });
  dialog.replaceChildren(
    make("header", {}, title,
      make("div", { className: "row" },
        button("\u2212", () => stage.zoom(1 / 1.5), "Smaller (minus)", { "aria-label": "Smaller" }),
        button("+", () => stage.zoom(1.5), "Larger (plus)", { "aria-label": "Larger" }),
        button("1:1", () => stage.to(1), "Each pixel (1); 0 shows all", { "aria-label": "Each pixel" }),
        button("\u2922", full, "Full screen (f)", { "aria-label": "Full screen" }),
        ...(list.length > 1 || grid.load ? [button("\u2190", () => step(-1), "Previous (arrow left)"), button("\u2192", () => step(1), "Next (arrow right)")] : []),
        button("\u00d7", () => dialog.close(), "Close (Escape)", { "aria-label": "Close" }))),
    make("div", { className: "middle" }, stage.element, part, out),
    make("div", { className: "side" }, buttons, caption, facts_),
  );

  async function show() {
    const item = list[at], name = item.name ?? (item.id ? item.id : named(item));
    closer = false;
    title.textContent = name;
    out.hidden = true;
    stage.element.hidden = false;
    onSeen(at);
    const known = item.width ? item : item.upload ? await api.uploadedSize(item.upload).catch(() => ({})) : {};
    if (list[at] !== item) return;
    stage.show({
      alt: item.caption ? nameOf(item) : name, width: known.width, height: known.height,
      small: item.id && known.width ? api.thumbnail(item.id, { hash: item.hash }) : undefined,
      large: item.id ? api.picture(item.id, sideNow()) : api.uploaded(item.upload),
    });
    actions(item);
    told(item, {});
    // The neighbours, so that a step shows them at once.
    for (const other of [list[at + 1], list[at - 1]]) if (other?.id) new Image().src = api.picture(other.id, sideNow());
    if (!item.id) return;
    try {
      const stored = await api.image(item.id);
      if (list[at] !== item) return;
      if (!known.width && stored.width) Object.assign(stage.size, { width: stored.width, height: stored.height }), stage.fit();
      told(item, stored);
    } catch (error) {
      tell(error.message);
    }
  }

  function actions(item) {
    if (crop) {
      buttons.replaceChildren(button("Choose a part", () => stage.begin()));
      return;
    }
    const images = [source()];
    buttons.replaceChildren(
      button("Search by it", asking(() => state.ask({ images })), "", { class: "main" }),
      button("Search by a part", () => stage.begin(), "Or draw over the picture"),
      ...(item.id ? [button("More like it", asking(() => act("like", item))), button("Less like it", asking(() => act("dislike", item)))] : []),
      button("Find duplicates", asking(() => state.ask({ images, within: duplicateDistance(facts) }))),
      button("Denoise", asking(() => state.write({ ...state.read(), tab: "denoise", query: { ...query, images } }))),
      ...(item.rank && query.images.length ? [button("Why?", () => why(item))] : []),
      ...(item.id ? [
        button("Copy path", async () => tell((await copy(facts?.folder ? `${facts.folder}/${item.id}` : item.id, dialog)) ? "Copied." : item.id)),
        make("a", { href: api.original(item.id), download: "", textContent: "Original", className: "button" }),
      ] : []),
    );
  }

  function told(item, stored) {
    const { id, label, caption: text, metadata, width, height, size, hash, tags, ...others } = stored;
    caption.textContent = text ?? item.caption ?? "";
    fill(facts_, [
      item.likeness && ["Likeness", item.likeness],
      item.group?.length && ["Folded in", item.group.join(", ")],
      ["Size", width ? `${width} x ${height} pixels, ${bytes(size)}` : ""],
      [id?.includes("/") && id.split("/").slice(-2)[0] === label ? "Folder" : "Label", label],
      tags?.length && ["Looks like", tags.map(({ word }) => word).join(", ")],
      ...Object.entries(metadata ?? {}), ...Object.entries(others),
    ].filter((pair) => pair && pair[1]));
  }

  // The numbers behind an answer, and the parts of both pictures that account for it.
  async function why(item) {
    stage.element.hidden = true;
    out.hidden = false;
    const back = button("Back to the picture", () => {
      out.hidden = true;
      stage.element.hidden = false;
      stage.fit();
    });
    const numbers = make("dl");
    fill(numbers, [
      ["Rank", item.rank],
      item.similarity !== undefined && item.similarity !== null && ["Similarity", `${percent(item.similarity)} (distance ${item.distance.toFixed(4)})`],
      meaning(item.p_value) && ["How rare", meaning(item.p_value, item.p_value_is_bound)],
      item.inliers && ["Details", `${item.inliers} in the same arrangement`],
    ].filter(Boolean));
    const message = make("p", { textContent: "Computing the explanation ...", attributes: { role: "status" } });
    out.replaceChildren(back, message, numbers);
    back.focus();
    try {
      const explanation = await api.explain({ image: query.images[0], match: item.id, encoder: query.encoder ?? null });
      if (list[at] !== item) return;
      const side = (name, title_, alt) => make("figure", {}, make("img", { src: explanation[name], alt }), make("figcaption", { textContent: title_ }));
      message.textContent = explanation.message;
      message.after(side("query", "Query", "The query, with the parts that account for the similarity"), side("match", "Match", "The match, with the parts that account for the similarity"));
    } catch (error) {
      message.textContent = error.message;
    }
  }

  async function step(by) {
    const to = at + by;
    if (to >= list.length && grid.next !== null && grid.load) await grid.load().catch((error) => tell(error.message));
    if (to < 0 || to >= list.length) {
      tell(to < 0 ? "This is the first." : "This is the last.");
      return;
    }
    at = to;
    show();
  }

  function full() {
    if (document.fullscreenElement) document.exitFullscreen();
    else dialog.requestFullscreen?.().catch(() => tell("This browser shows no page on the full screen."));
  }

  dialog.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const work = {
      ArrowRight: () => step(1), ArrowLeft: () => step(-1), f: full, "+": () => stage.zoom(1.5), "=": () => stage.zoom(1.5),
      "-": () => stage.zoom(1 / 1.5), 0: () => stage.fit(), 1: () => stage.to(1),
      Enter: event.target === stage.box && stage.part ? searchPart : undefined,
    }[event.key];
    if (!work) return;
    event.preventDefault();
    work();
  };
  dialog.onclick = (event) => {
    if (event.target === dialog) dialog.close();
  };
  // The step back of a browser closes it; so does Escape, which then takes that step itself.
  const closed = (stepBack) => {
    window.removeEventListener("popstate", gone);
    stage.resized.disconnect();
    leave = () => {};
    if (stepBack && history.state?.viewer) history.back();
  };
  const gone = () => {
    dialog.onclose = null;
    closed(false);
    dialog.close();
    onSeen(at, true);
  };
  leave = () => {
    dialog.onclose = null;
    closed(false);
    dialog.close();
  };
  dialog.onclose = () => {
    closed(true);
    onSeen(at, true);
  };
  if (!dialog.open) {
    dialog.showModal();
    if (!history.state?.viewer) history.pushState({ viewer: true }, "");
  }
  window.addEventListener("popstate", gone);
  show();
}

const fill = (list, pairs) =>
  list.replaceChildren(...pairs.filter(Boolean).flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: String(value) })]));

const bytes = (size) => (size > 1e6 ? `${(size / 1e6).toFixed(1)} MB` : `${Math.ceil(size / 1e3)} KB`);

// By the encoder that will be asked: codes count bits.
function duplicateDistance(facts) {
  const name = state.read().query.encoder ?? facts?.default;
  const used = facts?.encoders.find((one) => one.name === name);
  return used && !facts.distances.includes(used.distance) ? 8 : 0.02;
}
