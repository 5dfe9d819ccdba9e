// What is asked, shown: the chips, the pinned pictures, the words in their box, and the options.

import * as api from "./api.js";
import * as state from "./state.js";
import { make, named } from "./words.js";

const CHIPS = 6; // liked or disliked pictures that are shown one by one
const $ = (id) => document.getElementById(id);

const sourcesOf = (image, sent) =>
  // Of a kind that browsers don't show, the service makes one that they do.
  image.id ? [api.thumbnail(image.id)] : image.upload ? [sent.get(image.upload)?.shown, api.uploaded(image.upload)].filter(Boolean) : [];

function pictureOf(image, sent) {
  const sources = sourcesOf(image, sent), picture = make("img", { alt: "" });
  picture.addEventListener("error", () => (sources.length ? (picture.src = sources.shift()) : picture.remove()));
  if (sources.length) picture.src = sources.shift();
  if (image.crop) showPart(picture, image);
  return picture;
}

// Only the part that is asked by.
async function showPart(picture, image) {
  const size = await (image.id ? api.image(image.id) : api.uploadedSize(image.upload)).catch(() => ({}));
  if (!size.width) return;
  const [x, y, w, h] = image.crop, share = (value, all) => `${(100 * value) / all}%`;
  picture.style.objectViewBox = `inset(${share(y, size.height)} ${share(size.width - x - w, size.width)} ${share(size.height - y - h, size.height)} ${share(x, size.width)})`;
}

function chip({ text, title = text, picture, kind = "", remove, edit }) {
  const item = make("li", { className: kind }, picture, make("span", { textContent: text, title }));
  if (edit) item.append(make("button", { type: "button", textContent: "Crop", onclick: edit, attributes: { "aria-label": `Crop ${title}` } }));
  item.append(make("button", { type: "button", textContent: "\u00d7", onclick: remove, attributes: { "aria-label": `Remove ${title}` } }));
  return item;
}

export function showChips(query, { sent, crop }) {
  const chips = [];
  const without = (list, at) => list.filter((_, i) => i !== at);
  const last = (id) => id.split("/").pop();
  query.images.forEach((image, at) => {
    const name = named(image);
    chips.push(chip({
      text: (image.crop ? "part of " : "") + last(name), title: name, picture: pictureOf(image, sent),
      remove: () => state.change({ images: without(query.images, at) }),
      edit: image.url ? undefined : () => crop(image, (box) => state.change({ images: query.images.map((one, i) => (i === at ? { ...one, crop: box } : one)) })),
    }));
  });
  for (const [name, kind, word] of [["likes", "like", "like"], ["dislikes", "dislike", "not like"]]) {
    const list = query[name], shown = list.length > CHIPS ? list.slice(0, CHIPS - 1) : list;
    shown.forEach((id, at) => chips.push(chip({ text: `${word} ${last(id)}`, title: `${word} ${id}`, kind, picture: pictureOf({ id }, sent), remove: () => state.change({ [name]: without(list, at) }) })));
    if (shown.length < list.length) chips.push(chip({ text: `${word} ${list.length - shown.length} more`, kind, remove: () => state.change({ [name]: shown }) }));
  }
  for (const [name, word] of [["text", "shows: "], ["words", "words: "], ["where", "where "], ["within", "distance at most "]])
    if (query[name] || query[name] === 0) chips.push(chip({ text: name === "within" ? "duplicates only" : word + query[name], title: word + query[name], remove: () => state.change({ [name]: null }) }));
  $("chips").replaceChildren(...chips);
  if (document.activeElement !== $("words") || !$("words").value) $("words").value = query.where ? `= ${query.where}` : (query.text ?? query.words ?? "");
  // On wide screens the pictures that one asks by stand beside the answers, to be compared with.
  const pinned = [...query.images, ...query.likes.slice(0, CHIPS).map((id) => ({ id }))];
  $("pinned").replaceChildren(...pinned.map((image) => make("figure", {}, pictureOf(image, sent), make("figcaption", { textContent: (image.crop ? "Part of " : "") + last(named(image)) }))));
  $("pinned").hidden = !pinned.length;
}

function options(select, values, chosen) {
  select.replaceChildren(...values.map(([value, text]) => new Option(text, value, false, value === (chosen ?? ""))));
  select.closest("label").hidden = values.length < 2;
}

export function showOptions(now, facts) {
  if (!facts) return;
  const { query } = now;
  options($("encoder"), [["", `${facts.default} (default)`], ...facts.encoders.filter((e) => e.complete && e.name !== facts.default).map((e) => [e.name, e.name])], query.encoder);
  const used = facts.encoders.find((e) => e.name === (query.encoder ?? facts.default));
  $("verdict").textContent = used?.verdict ?? "";  // why this one, where it was chosen without labels
  $("verdict").hidden = !used?.verdict;
  const own = used?.distance ?? "cosine";
  const packed = !facts.distances.includes(own);  // codes are compared by their own distance alone
  options($("distance"), [["", `${own} (its own)`], ...(packed ? [] : facts.distances.filter((d) => d !== own).map((d) => [d, d]))], query.distance);
  options($("rerank"), [["", "none"], ...facts.reranks.map((r) => [r, r])], query.rerank);
  $("group").value = query.group ? String(query.group) : "";
  const others = [
    ...facts.encoders.filter((e) => e.complete).map((e) => [`encoder:${e.name}`, `encoder ${e.name}`]),
    ...(packed ? [] : facts.distances).map((d) => [`distance:${d}`, `distance ${d}`]),
    ...facts.reranks.map((r) => [`rerank:${r}`, `re-ranking ${r}`]),
    ["rerank:", "no re-ranking"],
  ];
  options($("versus"), [["", "nothing"], ...others], now.versus);
  $("sharper").hidden = !facts.small_thumbnails;
}
