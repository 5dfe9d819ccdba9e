// The page: what a person does becomes a query in the address, and the address becomes results.

import * as api from "./api.js";
import { drawFiles } from "./files.js";
import { Grid } from "./grid.js";
import { openHelp } from "./help.js";
import { isAddress, wireIncoming } from "./incoming.js";
import { leftOut, listen } from "./news.js";
import { showChips, showOptions } from "./query.js";
import { keepFor, pick, picked, selectedPage, showSelection, wireSelection } from "./selection.js";
import { openSketch } from "./sketch.js";
import * as state from "./state.js";
import { closeViewer, openViewer } from "./viewer.js";
import { waiting } from "./waiting.js";
import { count, many, rememberName, tell } from "./words.js";

const PAGE = 100;
const $ = (id) => document.getElementById(id);
const TABS = ["search", "map", "denoise", "scores", "files"];
// Views that are only loaded when they are first looked at.
const LATER = {
  map: () => import("./map.js"),
  denoise: () => import("./denoise.js"),
  scores: () => import("./scores.js"),
};

let facts = null;
let grids = [];
let running = null;
let lastShown = null;
let answered = null; // the first answers to a question that was sent together with its files
const sent = new Map(); // files that were sent, by what they are asked by: shown, and sent again to a server begun anew

const failed = (error) => {
  if (error.name !== "AbortError") tell(error.message);
};

function empty(place, title, ...text) {
  const box = document.createElement("div");
  box.className = "empty";
  const strong = document.createElement("strong");
  strong.textContent = title;
  box.append(strong, ...text);
  place.replaceChildren(box);
}

// Asking --------------------------------------------------------------------------------------------------------------

async function askByFiles(files) {
  const chosen = [...files].filter((file) => file.size > 0 || tell(`${file.name} is empty; choose an image file.`));
  if (!chosen.length) return;
  closeViewer();
  running?.abort();
  const mine = (running = new AbortController());
  const wait = waiting("Sending the picture ...", () => mine.abort());
  try {
    answered = await api.searchByFiles(chosen, asked(state.asking({})), mine.signal,
      (share) => wait.say(share < 1 ? `Sending the picture: ${Math.round(100 * share)} %.` : "Searching ..."));
    answered.uploads.forEach((upload, at) => {
      if (!sent.has(upload)) sent.set(upload, { file: chosen[at], shown: URL.createObjectURL(chosen[at]) });
      rememberName(upload, chosen[at].name);
    });
    state.ask({ images: answered.uploads.map((upload) => ({ upload })) });
  } catch (error) {
    failed(error);
  } finally {
    wait.done();
  }
}

function askByAddress(url) {
  if (facts?.urls) state.ask({ images: [{ url }] });
  else tell("Pictures of other sites aren't fetched here: save the picture and drop the file, or start the server with --allow-urls.");
  return true;
}

// A query as the service takes it, for its first page. What one asks by is pinned, and so not among the answers.
function asked(query) {
  const { images, likes, ...rest } = Object.fromEntries(Object.entries(query).filter(([, v]) => v !== null && v !== "" && v !== undefined));
  if (rest.group) rest.group = Number(rest.group);
  const own = [...new Set([...(images ?? []).flatMap((image) => image.id ?? []), ...(likes ?? [])])];
  return { ...rest, ...(images?.length ? { images } : {}), ...(likes?.length ? { likes } : {}), ...(own.length ? { without: own } : {}), k: PAGE, offset: 0 };
}

// Words stay words; a filter is what begins with "=".
function askByWords(event) {
  event.preventDefault();
  const text = $("words").value.trim();
  const none = { words: null, text: null, where: null };
  if (isAddress(text)) return void askByAddress(text);
  if (!text) return void (state.asks(state.read().query) && state.change(none));
  if (text.startsWith("=")) state.change({ ...none, where: text.slice(1).trim() });
  else if (canRead()) state.change({ ...none, text });
  else state.change({ ...none, words: text });
}

const encoderNow = () => state.read().query.encoder ?? facts?.default;
const canRead = () => facts?.encoders.some((one) => one.name === encoderNow() && one.can_read);

function act(name, item, grid, adding) {
  const { query } = state.read();
  if (name === "error") failed(item);
  else if (name === "pick") pick(item, adding);
  else {
    const other = name === "like" ? "dislikes" : "likes", mine = name === "like" ? "likes" : "dislikes";
    if (query[mine].includes(item.id)) return;
    if (name === "dislike" && !state.asks(query)) {
      tell("First say what to look for: like a picture, or drop one. Then say what it shouldn't be like.");
      return;
    }
    state.change({ [mine]: [...query[mine], item.id], [other]: query[other].filter((id) => id !== item.id) });
  }
}

// Showing -------------------------------------------------------------------------------------------------------------

function pages(query, first) {
  return async (offset) => {
    const found = offset === 0 && first ? first : await api.search({ ...query, offset }, running?.signal);
    return { items: found.matches, next: found.next, total: found.total };
  };
}

// What the answers are worth, in a line; the service's own sentence, with its numbers, behind it.
function sayWhatItMeans(found, query) {
  const alone = query.images?.length && !query.likes && !query.words && !query.where && !query.dislikes;
  const words = {};
  for (const { likeness } of found.matches) words[likeness] = (words[likeness] ?? 0) + 1;
  const parts = [["same picture", "the same picture"], ["very alike", "very alike"], ["alike", "alike"]]
    .filter(([name]) => words[name]).map(([name, text]) => `${count(words[name])}${words[name] === PAGE ? " or more" : ""} ${text}`);
  let text;
  if (query.within !== undefined) text = found.matches.length ? `${many(found.total, "duplicate")} of this picture.` : "";
  else if (!query.images && !query.likes) text = found.message ?? "";
  else if (found.nothing_like_it && alone) text = "Nothing here is clearly like it. The nearest pictures follow.";
  else text = parts.length ? `${parts.join(", ")}.` : "Nothing stands out. The nearest pictures follow.";
  $("message").textContent = text;
  $("numbers").hidden = !found.message || found.message === text;
  $("numbers-text").textContent = found.message ?? "";
}

async function show(now, y = 0) {
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
    return part.draw($(`view-${now.tab}`), { facts, tell, picked, showSelection, view: (items, at) => view({ items, next: null }, at) });
  }
  showChips(now.query, { sent, crop: (image, done) => view({ items: [{ ...image, crop: undefined }], next: null }, 0, { crop: done }) });
  const key = JSON.stringify([now.query, now.versus, now.only]);
  if (key === lastShown && grids.length) return undefined;
  const wasInGrid = $("results").contains(document.activeElement);
  lastShown = key;
  running?.abort();
  const mine = (running = new AbortController());
  const query = asked(now.query);
  const [left, right] = document.querySelectorAll(".column");
  const begin = () => {
    for (const grid of grids) grid.end();
    grids = [];
    right.hidden = true;
  };
  const grid = (place, more, title) => {
    const made = new Grid(place, { more, onOpen: view, onAct: act, picked, title });
    grids.push(made);
    return made.load().then(() => made);
  };
  $("numbers").hidden = true;
  if (now.only === "selection") {
    begin();
    $("message").textContent = picked.size ? `${many(picked.size, "picture")} selected.` : "Nothing is selected.";
    return grid(left, (offset) => selectedPage(offset, PAGE)).catch(failed);
  }
  if (!state.asks(now.query)) {
    begin();
    return browse(left, grid, y);
  }
  const wait = waiting(now.query.rerank && now.query.rerank !== "auto"
    ? "Comparing picture by picture; the first time here takes longest." : "Searching ...", () => mine.abort());
  try {
    const first = ready ?? (await api.search(query, mine.signal));
    begin();
    sayWhatItMeans(first, query);
    if (!first.matches.length) {
      if (query.within !== undefined) empty(left, "No duplicates", "No other picture here is this one, or nearly.");
      else empty(left, "Nothing matches", query.where ? "Change or remove the filter." : "Try fewer or other words, or search by a picture.");
      return undefined;
    }
    const made = await grid(left, pages(query, first), now.versus ? ordering(query) : "");
    await made.reach(y);
    if (now.versus) {
      right.hidden = false;
      const [name, value] = now.versus.split(/:(.*)/s);
      const other = { ...query, [name]: value || undefined };
      await grid(right, pages(other), ordering(other));
      grids[0].layout();
    }
    if (wasInGrid && !$("results").contains(document.activeElement) && !document.querySelector("dialog[open]")) made.focus(0);
  } catch (error) {
    if (running === mine) lastShown = null;
    if (error.name === "AbortError") {
      if (running === mine) tell("Stopped.");
      return undefined;
    }
    if (await sendAgain(now, error)) return undefined;
    if (error.status === 0) return undefined; // the banner says so, and what is shown stays
    begin();
    $("message").textContent = "";
    if (query.where && error.status === 400)
      empty(left, "That filter can't be read", `A filter compares a column: =width > 1000, =label = 'cat'. To search by words, leave the "=" out. (${error.message})`);
    else empty(left, "The search failed", error.message);
  } finally {
    wait.done();
  }
  return undefined;
}

// A server that was begun anew knows nothing of what was sent before: send it again, if this page still has it.
async function sendAgain(now, error) {
  const known = now.query.images.filter((image) => sent.has(image.upload));
  if (error.status !== 404 || !known.length) return false;
  const images = await Promise.all(now.query.images.map(async (image) => {
    if (!sent.has(image.upload)) return image;
    const { upload } = await api.upload(sent.get(image.upload).file);
    sent.set(upload, sent.get(image.upload));
    rememberName(upload, sent.get(upload).file.name);
    if (upload !== image.upload) sent.delete(image.upload);
    return { ...image, upload };
  }));
  if (JSON.stringify(images) === JSON.stringify(now.query.images)) return false;
  state.write({ ...now, query: { ...now.query, images } }, { replace: true });
  return true;
}

const ordering = (query) =>
  `${query.encoder ?? facts?.default}, ${query.distance ?? "its own distance"}${query.rerank ? `, ${query.rerank}` : ""}`;

async function browse(place, grid, y) {
  const touch = matchMedia("(hover: none)").matches;
  $("message").textContent = facts
    ? `${many(facts.images, "image")}. ${touch ? "Touch one" : "Open one, or drop a picture here,"} to find what is like it.`
    : "";
  if (facts && !facts.images) {
    empty(place, "This index has no images yet", "Run 'lookalike index' on a folder; the page shows them as they are indexed.");
    return;
  }
  const more = async (offset) => {
    const page = await api.images(offset, PAGE);
    return { items: page.images, next: page.next, total: page.total };
  };
  await grid(place, more).then((made) => made.reach(y), failed);
}

function view(grid, at, more = {}) {
  openViewer($("viewer"), grid, at, {
    facts, act, query: state.read().query, ...more,
    onSeen: (seen, closed) => closed && grid.focus?.(seen),
  });
}

async function refresh() {
  facts = await api.info();
  keepFor(facts.name);
  document.title = `${facts.name} - lookalike`;
  const left = leftOut(facts.outcomes);
  $("tab-files").textContent = left ? `Files (${count(left)} left out)` : "Files";
  showOptions(state.read(), facts);
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
  $("draw").addEventListener("click", () => openSketch($("sketch"), (file) => askByFiles([file])));
  $("help-button").addEventListener("click", () => openHelp($("help")));
  wireIncoming({ askByFiles, askByAddress });
  wireSelection(() => grids);
  for (const name of ["encoder", "distance", "rerank", "group"])
    $(name).addEventListener("change", () => state.change({ [name]: $(name).value || null }));
  $("versus").addEventListener("change", () => state.write({ ...state.read(), versus: $("versus").value }));
  $("tile-size").value = localStorage.getItem("tile-size") ?? "1";
  $("tile-size").addEventListener("change", () => {
    localStorage.setItem("tile-size", $("tile-size").value);
    for (const grid of grids) grid.layout();
  });
  for (const tab of TABS) $(`tab-${tab}`).addEventListener("click", () => state.write({ ...state.read(), tab }));
  $("tabs").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const tab = TABS[(TABS.indexOf(state.read().tab) + step + TABS.length) % TABS.length];
    state.write({ ...state.read(), tab });
    $(`tab-${tab}`).focus();
  });
  document.addEventListener("pointerdown", (event) => {
    if (!$("options").contains(event.target)) $("options").open = false;
  });
  let typing = 0, still = 0;
  $("words").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(suggest, 150);
  });
  addEventListener("scroll", () => {
    clearTimeout(still);
    still = setTimeout(() => state.remember(scrollY), 150);
  }, { passive: true });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && $("options").open) {
      $("options").open = false;
      $("options").firstElementChild.focus();
    }
    if (event.target.closest("input, select, textarea, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") $("words").focus();
    else if (event.key === "?") openHelp($("help"));
    else if (event.key === "Escape" && picked.size) $("clear-selection").click();
    else return;
    event.preventDefault();
  });
}

async function suggest() {
  const text = $("words").value;
  const last = text.split(/[\s='"(]+/).pop();
  if (!last) return;
  try {
    const found = await api.suggest(last);
    const head = text.slice(0, text.length - last.length);
    const names = text.startsWith("=") ? [...found.columns, ...found.values] : found.values;
    $("suggestions").replaceChildren(...names.map((one) => new Option("", head + one)));
  } catch {
    // A suggestion that doesn't come is no trouble.
  }
}

state.onChange((now, y) => {
  showOptions(now, facts);
  show(now, y).catch(failed);
});
wire();
await refresh().catch(failed);
show(state.read(), history.state?.y ?? 0).catch(failed);
listen({
  onIndex: (message) => {
    if (facts && message.version === facts.version) return;
    refresh().then(() => {
      const now = state.read(), files = now.tab === "files";
      if (files ? $("view-files").contains(document.activeElement) : state.asks(now.query) || now.only) return;
      lastShown = null;
      show(now, scrollY).catch(failed);
    }, failed);
  },
  onBack: () => {
    lastShown = null;
    refresh().then(() => show(state.read(), scrollY)).catch(failed);
  },
});
