// The page: what a person does becomes a query in the address, and the address becomes results.

import * as api from "./api.js";
import { drawFiles, leftOf, showRun } from "./files.js";
import { Grid } from "./grid.js";
import * as state from "./state.js";
import { openSketch } from "./sketch.js";
import { openViewer } from "./viewer.js";

const PAGE = 100;
// Files in one download, and images of a selection that are liked at once: the address holds them.
const ZIPPED = 500, LIKED = 30;
const $ = (id) => document.getElementById(id);
const TABS = ["search", "map", "denoise", "scores", "files"];
// Views that are only loaded when they are first looked at.
const LATER = {
  map: () => import("./map.js"),
  denoise: () => import("./denoise.js"),
  scores: () => import("./scores.js"),
};

export const picked = new Set();
let facts = null;
let grids = [];
let running = null;
let lastQuery = null;
let answered = null; // the first answers to a question that was sent together with its files
const sent = new Map(); // pictures that were sent, by what they are asked by: shown without asking for them

// Telling ------------------------------------------------------------------------------------------------------------

let toastTimer = 0;
export function tell(message) {
  const toast = $("toast");
  toast.textContent = message;
  toast.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (toast.hidden = true), 7000);
}

const failed = (error) => {
  if (error.name !== "AbortError") tell(error.message);
};

function empty(place, title, text) {
  const box = document.createElement("div");
  box.className = "empty";
  const strong = document.createElement("strong");
  strong.textContent = title;
  box.append(strong, text);
  place.replaceChildren(box);
}

// Asking --------------------------------------------------------------------------------------------------------------

export async function askByFiles(files) {
  const chosen = [...files].filter((file) => file.size > 0 || tell(`${file.name} is empty; choose an image file.`));
  if (!chosen.length) return;
  $("results").classList.add("busy");
  running?.abort();
  const mine = (running = new AbortController());
  try {
    answered = await api.searchByFiles(chosen, asked(state.asking({})), mine.signal);
    answered.uploads.forEach((upload, at) => sent.has(upload) || sent.set(upload, URL.createObjectURL(chosen[at])));
    state.ask({ images: answered.uploads.map((upload) => ({ upload })) });
  } catch (error) {
    failed(error);
  } finally {
    if (running === mine) $("results").classList.remove("busy");
  }
}

// A query as the service takes it, for its first page.
function asked(query) {
  const { images, ...rest } = Object.fromEntries(Object.entries(query).filter(([, v]) => v !== null && v !== "" && v !== undefined));
  if (rest.group) rest.group = Number(rest.group);
  return { ...rest, ...(images?.length ? { images } : {}), k: PAGE, offset: 0 };
}

const FILTER = /(<=|>=|!=|=|<|>|\blike\b|\bin\b|\bis\b)/i;

function askByWords(event) {
  event.preventDefault();
  const text = $("words").value.trim();
  $("words").value = "";
  if (!text) return;
  if (FILTER.test(text)) state.change({ where: text });
  else if (canRead()) state.change({ text });
  else state.change({ words: text });
}

const encoderNow = () => state.read().query.encoder ?? facts?.default;
const canRead = () => facts?.encoders.some((one) => one.name === encoderNow() && one.can_read);

function act(name, item) {
  const { query } = state.read();
  if (name === "error") failed(item);
  else if (name === "pick") {
    if (!picked.delete(item.id)) picked.add(item.id);
    showSelection();
  } else {
    const other = name === "like" ? "dislikes" : "likes", mine = name === "like" ? "likes" : "dislikes";
    if (query[mine].includes(item.id)) return;
    if (name === "dislike" && !state.asks(query) ) {
      tell("Say first what you look for: like an image, or drop one.");
      return;
    }
    state.change({ [mine]: [...query[mine], item.id], [other]: query[other].filter((id) => id !== item.id) });
  }
}

function showSelection() {
  $("selection").hidden = picked.size === 0;
  $("selected").textContent = `${picked.size.toLocaleString("en")} selected`;
}

// Showing -------------------------------------------------------------------------------------------------------------

function chip({ text, picture, kind = "", remove, edit }) {
  const item = document.createElement("li");
  if (kind) item.className = kind;
  if (picture) {
    const image = document.createElement("img");
    const sources = [picture].flat();
    image.src = sources.shift();
    image.alt = "";
    image.addEventListener("error", () => (sources.length ? (image.src = sources.shift()) : image.remove()));
    item.append(image);
  }
  const name = document.createElement("span");
  name.textContent = text;
  name.title = text;
  item.append(name);
  if (edit) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Crop";
    button.setAttribute("aria-label", `Crop ${text}`);
    button.addEventListener("click", edit);
    item.append(button);
  }
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "\u00d7";
  button.setAttribute("aria-label", `Remove ${text}`);
  button.addEventListener("click", remove);
  item.append(button);
  return item;
}

function showChips(query) {
  const chips = [];
  const without = (list, at) => list.filter((_, i) => i !== at);
  query.images.forEach((image, at) => {
    const crop = image.crop ? ` [${image.crop.join(", ")}]` : "";
    chips.push(
      chip({
        text: (image.id ?? "your image") + crop,
        // Of a kind that browsers don't show, the service makes one that they do.
        picture: image.id ? api.thumbnail(image.id) : [sent.get(image.upload), api.uploaded(image.upload)].filter(Boolean),
        remove: () => state.change({ images: without(query.images, at) }),
        edit: () => view([{ ...image, crop: undefined, name: image.id ?? "your image" }], 0, { crop: (box) =>
          state.change({ images: query.images.map((one, i) => (i === at ? { ...one, crop: box } : one)) }) }),
      }),
    );
  });
  for (const [name, kind, word] of [["likes", "like", "like"], ["dislikes", "dislike", "not like"]])
    query[name].forEach((id, at) =>
      chips.push(chip({ text: `${word} ${id}`, kind, picture: api.thumbnail(id), remove: () => state.change({ [name]: without(query[name], at) }) })));
  for (const [name, word] of [["text", "shows: "], ["words", "words: "], ["where", "where "], ["within", "distance at most "]])
    if (query[name] || query[name] === 0) chips.push(chip({ text: word + query[name], remove: () => state.change({ [name]: null }) }));
  $("chips").replaceChildren(...chips);
}

const items = (found) =>
  found.matches.map((match) => ({ ...match, afterGap: found.gap_after !== null && match.rank === found.gap_after + 1 }));

function pages(query, first) {
  return async (offset) => {
    const found = offset === 0 && first ? first : await api.search({ ...query, offset }, running?.signal);
    return { items: items(found), next: found.next, total: found.total };
  };
}

async function show(now) {
  const ready = answered;
  answered = null;
  for (const tab of TABS) {
    const selected = tab === now.tab;
    $(`tab-${tab}`).setAttribute("aria-selected", selected);
    $(`tab-${tab}`).tabIndex = selected ? 0 : -1;
    $(`view-${tab}`).hidden = !selected;
  }
  if (now.tab === "files") return drawFiles($("view-files"), tell);
  if (LATER[now.tab]) {
    const part = await LATER[now.tab]();
    return part.draw($(`view-${now.tab}`), { facts, tell, view, picked, showSelection });
  }
  showChips(now.query);
  const key = JSON.stringify([now.query, now.versus]);
  if (key === lastQuery && grids.length) return undefined;
  lastQuery = key;
  running?.abort();
  running = new AbortController();
  const query = asked(now.query);
  for (const grid of grids) grid.end();
  grids = [];
  const [left, right] = document.querySelectorAll(".column");
  right.hidden = true;
  if (!state.asks(now.query)) return browse(left);
  $("results").classList.add("busy");
  try {
    const first = ready ?? (await api.search(query, running.signal));
    $("message").textContent = first.message ?? "";
    $("message").classList.toggle("none", Boolean(first.nothing_like_it));
    if (!first.matches.length) {
      empty(left, "Nothing matches", "Remove a chip, widen the filter, or search by another image.");
      return undefined;
    }
    const title = now.versus ? ordering(query) : "";
    grids = [new Grid(left, { more: pages(query, first), onOpen: view, onAct: act, picked, title })];
    await grids[0].load();
    if (now.versus) {
      right.hidden = false;
      const [name, value] = now.versus.split(/:(.*)/s);
      const other = { ...query, [name]: value || undefined };
      const grid = new Grid(right, { more: pages(other), onOpen: view, onAct: act, picked, title: ordering(other) });
      grids.push(grid);
      await grid.load();
      grids[0].layout();
    }
  } catch (error) {
    failed(error);
    if (error.name !== "AbortError") {
      $("message").textContent = "";
      empty(left, "The search failed", error.message);
    }
  } finally {
    $("results").classList.remove("busy");
  }
  return undefined;
}

const ordering = (query) =>
  `${query.encoder ?? facts?.default}, ${query.distance ?? "its own distance"}${query.rerank ? `, ${query.rerank}` : ""}`;

async function browse(place) {
  $("message").textContent = facts
    ? `${facts.images.toLocaleString("en")} images. Drop an image here, or click one, to find similar images.`
    : "";
  $("message").classList.remove("none");
  if (facts && !facts.images) {
    empty(place, "This index has no images yet", "Run 'lookalike index' on a folder; the page shows them as they are indexed.");
    return;
  }
  const grid = new Grid(place, {
    more: async (offset) => {
      const page = await api.images(offset, PAGE);
      return { items: page.images, next: page.next, total: page.total };
    },
    onOpen: view, onAct: act, picked,
  });
  grids = [grid];
  await grid.load().catch(failed);
}

function view(list, at, more = {}) {
  openViewer($("viewer"), list, at, { facts, tell, act, query: state.read().query, ...more });
}

function options(select, values, chosen) {
  select.replaceChildren(
    ...values.map(([value, text]) => new Option(text, value, false, value === (chosen ?? ""))),
  );
  select.closest("label").hidden = values.length < 2;
}

function showOptions(now) {
  if (!facts) return;
  const { query } = now;
  options($("encoder"), [["", `${facts.default} (default)`], ...facts.encoders.filter((e) => e.complete && e.name !== facts.default).map((e) => [e.name, e.name])], query.encoder);
  const used = facts.encoders.find((e) => e.name === encoderNow());
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
}

// News of the index ---------------------------------------------------------------------------------------------------

function stateOf({ gone, run, trouble, complete, images, committed, outcomes }) {
  if (gone) return "The index has been removed; searches use the version in memory.";
  if (run) return `Indexing: ${leftOf(run)}`;
  if (trouble) return trouble;
  if (!complete) return `Indexing: ${committed.toLocaleString("en")} so far`;
  const left = Object.entries(outcomes).filter(([name]) => name !== "indexed").reduce((sum, [, n]) => sum + n, 0);
  return `${images.toLocaleString("en")} images${left ? `, ${left.toLocaleString("en")} ${left === 1 ? "file" : "files"} left out` : ""}`;
}

// A browser has six connections for a host, and a stream keeps one: a tab that nobody looks at gives its own back.
let news = null;

function listen() {
  const follow = () => {
    if (document.hidden === !news) return;
    news?.close();
    news = document.hidden ? null : stream();
  };
  document.addEventListener("visibilitychange", follow);
  follow();
}

function stream() {
  const source = new EventSource("api/events");
  source.addEventListener("index", (event) => {
    const message = JSON.parse(event.data);
    // Read aloud when something has happened, and not each second while it does.
    $("state").setAttribute("aria-live", message.run ? "off" : "polite");
    $("state").textContent = stateOf(message);
    showRun($("view-files"), message.run);
    if (facts && message.version !== facts.version) refresh().catch(failed);
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) $("state").textContent = "The server doesn't answer.";
  });
  return source;
}

async function refresh() {
  facts = await api.info();
  document.title = `${facts.name} - lookalike`;
  showOptions(state.read());
  const now = state.read(), files = now.tab === "files";
  if (files ? !$("view-files").contains(document.activeElement) : !state.asks(now.query)) {
    lastQuery = null;
    await show(now);
  }
}

// Wiring --------------------------------------------------------------------------------------------------------------

function wire() {
  $("ask").addEventListener("submit", askByWords);
  $("home").addEventListener("click", (event) => {
    event.preventDefault();
    state.write({ tab: "search", query: { images: [], likes: [], dislikes: [] }, versus: "" });
  });
  $("choose").addEventListener("click", () => $("file").click());
  $("camera").addEventListener("click", () => $("shot").click());
  for (const id of ["file", "shot"])
    $(id).addEventListener("change", () => askByFiles($(id).files).finally(() => ($(id).value = "")));
  $("draw").addEventListener("click", () => openSketch($("sketch"), (file) => askByFiles([file])));
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
    if (files.length) askByFiles(files);
  });
  let over = 0;
  addEventListener("dragenter", (event) => {
    if (event.dataTransfer?.types.includes("Files")) $("drop").hidden = ++over === 0;
  });
  addEventListener("dragleave", () => ($("drop").hidden = --over <= 0));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    over = 0;
    $("drop").hidden = true;
    if (event.dataTransfer?.files.length) askByFiles(event.dataTransfer.files);
  });
  for (const name of ["encoder", "distance", "rerank", "group"])
    $(name).addEventListener("change", () => state.change({ [name]: $(name).value || null }));
  $("versus").addEventListener("change", () => state.write({ ...state.read(), versus: $("versus").value }));
  for (const tab of TABS) $(`tab-${tab}`).addEventListener("click", () => state.write({ ...state.read(), tab }));
  $("tabs").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const tab = TABS[(TABS.indexOf(state.read().tab) + step + TABS.length) % TABS.length];
    state.write({ ...state.read(), tab });
    $(`tab-${tab}`).focus();
  });
  $("clear-selection").addEventListener("click", () => {
    picked.clear();
    showSelection();
    document.querySelectorAll(".tile.picked").forEach((tile) => tile.classList.remove("picked"));
  });
  $("like-selection").addEventListener("click", () => {
    const all = [...picked], count = Math.min(all.length, LIKED);
    const liked = Array.from({ length: count }, (_, at) => all[Math.floor((at * all.length) / count)]);
    if (count < all.length) tell(`Liked ${count} of the ${all.length.toLocaleString("en")}, spread over them.`);
    state.change({ likes: [...new Set([...state.read().query.likes, ...liked])] });
  });
  $("list-selection").addEventListener("click", () => save(new Blob([[...picked].map((id) => `${id}\n`).join("")]), "selection.txt"));
  $("save-selection").addEventListener("click", async () => {
    if (picked.size > ZIPPED) {
      tell(`A download contains at most ${ZIPPED} files; select fewer, or save the list.`);
      return;
    }
    try {
      save(await api.download([...picked]), "selection.zip");
    } catch (error) {
      failed(error);
    }
  });
  let typing = 0;
  $("words").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(suggest, 150);
  });
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, select, textarea, dialog")) {
      event.preventDefault();
      $("words").focus();
    }
  });
}

async function suggest() {
  const text = $("words").value;
  const last = text.split(/[\s='"(]+/).pop();
  if (!last) return;
  try {
    const found = await api.suggest(last);
    const head = text.slice(0, text.length - last.length);
    $("suggestions").replaceChildren(...[...found.columns, ...found.values].map((one) => new Option("", head + one)));
  } catch {
    // A suggestion that doesn't come is no trouble.
  }
}

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

state.onChange((now) => {
  showOptions(now);
  show(now).catch(failed);
});
wire();
try {
  facts = await api.info();
  document.title = `${facts.name} - lookalike`;
} catch (error) {
  failed(error);
}
showOptions(state.read());
show(state.read()).catch(failed);
listen();
