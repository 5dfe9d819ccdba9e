// What was selected: kept over a reload, and what can be done with it.

import * as api from "./api.js";
import * as state from "./state.js";
import { count, tell } from "./words.js";

// Files in one download, and images of a selection that are liked at once: the address holds them.
const ZIPPED = 500, LIKED = 30;
const $ = (id) => document.getElementById(id);

export const picked = new Set();
let key = "";

// Take back what was selected of this collection, as far as this browser knows.
export function keepFor(name) {
  if (key) return;
  key = `selected ${location.pathname} ${name}`;
  try {
    for (const id of JSON.parse(localStorage.getItem(key) ?? "[]")) picked.add(id);
  } catch {
    // Nothing that we wrote.
  }
  showSelection();
}

export function showSelection() {
  $("selection").hidden = picked.size === 0;
  $("selected").textContent = `${count(picked.size)} selected`;
  document.body.classList.toggle("selecting", picked.size > 0);
  if (!key) return;
  try {
    localStorage.setItem(key, JSON.stringify([...picked]));
  } catch {
    // Too many to be kept, or nothing is kept here.
  }
}

export function pick(items, adding) {
  const all = adding || !items.every((item) => picked.has(item.id));
  for (const { id } of items) {
    if (all) picked.add(id);
    else picked.delete(id);
  }
  showSelection();
}

// The selection as a page of a grid.
export async function selectedPage(offset, size) {
  const ids = [...picked], part = ids.slice(offset, offset + size);
  const items = await Promise.all(part.map((id) => api.image(id).catch(() => ({ id, caption: `${id}: not here any more` }))));
  return { items, next: offset + size < ids.length ? offset + size : null, total: ids.length };
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function wireSelection(grids) {
  $("clear-selection").addEventListener("click", () => {
    picked.clear();
    showSelection();
    for (const grid of grids()) grid.marks();
    if (state.read().only) state.write({ ...state.read(), only: "" });
  });
  $("show-selection").addEventListener("click", () => state.write({ ...state.read(), tab: "search", only: "selection" }));
  $("like-selection").addEventListener("click", () => {
    const all = [...picked], most = Math.min(all.length, LIKED);
    const liked = Array.from({ length: most }, (_, at) => all[Math.floor((at * all.length) / most)]);
    if (most < all.length) tell(`Liked ${most} of the ${count(all.length)}, spread over them.`);
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
      tell(error.message);
    }
  });
}
