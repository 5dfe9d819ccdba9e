// Images in rows of one width, of which only those in sight are in the document: 60,000 scroll like 60.

import * as api from "./api.js";

const GAP = 6;
const SMALL = 64; // pictures with no side over this are drawn with hard pixels

export class Grid {
  // `more(offset)` returns {items, next, total}; `onOpen(items, at)` and `onAct(name, item)` tell what a person did.
  constructor(place, { more, onOpen, onAct, picked, title = "" }) {
    Object.assign(this, { more, onOpen, onAct, picked, items: [], boxes: [], next: 0, loading: null, shown: new Map() });
    this.place = place;
    place.replaceChildren();
    if (title) {
      const heading = document.createElement("h2");
      heading.textContent = title;
      place.append(heading);
    }
    this.space = document.createElement("div");
    this.space.className = "space";
    this.space.setAttribute("role", "list");
    this.space.setAttribute("aria-label", "Images");
    place.append(this.space);
    this.draw = this.draw.bind(this);
    // It also tells the width once at first, when it is known: laying out anew would make every tile twice.
    this.resized = new ResizeObserver(() => this.place.clientWidth !== this.width && this.layout());
    this.resized.observe(place);
    addEventListener("scroll", this.draw, { passive: true });
    this.space.addEventListener("click", (event) => this.clicked(event));
    this.space.addEventListener("keydown", (event) => this.pressed(event));
  }

  end() {
    this.ended = true;
    this.resized.disconnect();
    removeEventListener("scroll", this.draw);
  }

  async load() {
    if (this.loading || this.next === null || this.ended) return this.loading;
    this.loading = this.more(this.next).then((page) => {
      this.loading = null;
      if (this.ended) return;
      this.items.push(...page.items);
      this.next = page.next;
      this.total = page.total;
      this.layout();
    });
    try {
      await this.loading;
    } finally {
      this.loading = null;
    }
  }

  layout() {
    const width = (this.width = this.place.clientWidth);
    if (!width) return;
    const target = width < 500 ? 110 : 150;
    this.boxes = [];
    let row = [], ratios = 0, top = 0;
    const close = (height) => {
      let left = 0;
      for (const ratio of row) {
        const wide = Math.max(1, ratio * height);
        this.boxes.push([left, top, wide, height]);
        left += wide + GAP;
      }
      top += height + GAP;
      row = [];
      ratios = 0;
    };
    for (const item of this.items) {
      const ratio = Math.min(4, Math.max(0.35, (item.width || 1) / (item.height || 1)));
      row.push(ratio);
      ratios += ratio;
      const height = (width - GAP * (row.length - 1)) / ratios;
      if (height <= target) close(height);
    }
    if (row.length) close(Math.min(target, (width - GAP * (row.length - 1)) / ratios));
    const rest = this.next === null ? 0 : 400;
    this.space.style.height = `${top + rest}px`;
    for (const tile of this.shown.values()) tile.remove();
    this.shown.clear();
    this.draw();
  }

  draw() {
    if (!this.boxes.length && this.next === null) return;
    const above = this.space.getBoundingClientRect().top;
    const from = -above - 600, to = -above + innerHeight + 600;
    const wanted = new Set();
    for (let at = this.firstAfter(from); at < this.boxes.length && this.boxes[at][1] < to; at++) wanted.add(at);
    for (const [at, tile] of this.shown) {
      if (!wanted.has(at) && !tile.contains(document.activeElement)) {
        tile.remove();
        this.shown.delete(at);
      }
    }
    for (const at of wanted) if (!this.shown.has(at)) this.show(at);
    const last = this.boxes.at(-1);
    if (this.next !== null && (!last || last[1] < to + 400)) this.load().catch((error) => this.onAct("error", error));
  }

  firstAfter(y) {
    let low = 0, high = this.boxes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.boxes[middle][1] + this.boxes[middle][3] < y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  show(at) {
    const item = this.items[at], [left, top, width, height] = this.boxes[at];
    const tile = document.createElement("div");
    tile.className = "tile";
    tile.setAttribute("role", "listitem");
    if (Math.max(item.width || 999, item.height || 999) <= SMALL) tile.classList.add("small");
    if (item.afterGap) tile.classList.add("after-gap");
    if (this.picked.has(item.id)) tile.classList.add("picked");
    Object.assign(tile.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });
    tile.dataset.at = at;
    const open = document.createElement("button");
    open.type = "button";
    open.dataset.act = "open";
    open.setAttribute("aria-label", label(item));
    const picture = document.createElement("img");
    picture.src = item.picture ?? api.thumbnail(item.id);
    picture.alt = "";
    picture.decoding = "async";
    open.append(picture);
    const caption = document.createElement("p");
    caption.textContent = short(item);
    caption.title = label(item);
    const acts = document.createElement("div");
    acts.className = "acts";
    for (const [name, sign, title] of [["like", "+", "More like"], ["dislike", "\u2212", "Less like"], ["pick", "\u2713", "Select"]]) {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.act = name;
      button.textContent = sign;
      button.title = title;
      button.tabIndex = -1;
      button.setAttribute("aria-label", `${title} ${item.id}`);
      acts.append(button);
    }
    tile.append(open, caption, acts);
    if (item.group?.length) {
      const grouped = document.createElement("span");
      grouped.className = "grouped";
      grouped.textContent = `+${item.group.length}`;
      grouped.title = item.group.join("\n");
      tile.append(grouped);
    }
    this.space.append(tile);
    this.shown.set(at, tile);
  }

  clicked(event) {
    const act = event.target.closest("[data-act]")?.dataset.act;
    const at = Number(event.target.closest(".tile")?.dataset.at);
    if (!act || Number.isNaN(at)) return;
    if (act === "open") this.onOpen(this.items, at);
    else {
      this.onAct(act, this.items[at]);
      if (act === "pick") this.shown.get(at)?.classList.toggle("picked", this.picked.has(this.items[at].id));
    }
  }

  pressed(event) {
    const at = Number(event.target.closest(".tile")?.dataset.at);
    if (Number.isNaN(at) || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { l: "like", d: "dislike", s: "pick" }[event.key];
    if (act) {
      this.onAct(act, this.items[at]);
      this.shown.get(at)?.classList.toggle("picked", this.picked.has(this.items[at].id));
    } else if (event.key === "ArrowRight" || event.key === "ArrowLeft") this.focus(at + (event.key === "ArrowRight" ? 1 : -1));
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") this.focus(this.inRow(at, event.key === "ArrowDown" ? 1 : -1));
    else return;
    event.preventDefault();
  }

  inRow(at, step) {
    const [left, top] = this.boxes[at];
    let best = at, nearest = Infinity, row = null;
    for (let i = at + step; i >= 0 && i < this.boxes.length; i += step) {
      if (this.boxes[i][1] === top) continue;
      row ??= this.boxes[i][1];
      if (this.boxes[i][1] !== row) break;
      const away = Math.abs(this.boxes[i][0] - left);
      if (away < nearest) [best, nearest] = [i, away];
    }
    return best;
  }

  focus(at) {
    if (at < 0 || at >= this.boxes.length) return;
    if (!this.shown.has(at)) this.show(at);
    const button = this.shown.get(at).querySelector("button");
    button.focus();
    button.scrollIntoView({ block: "nearest" });
  }
}

export const percent = (value) => `${(100 * value).toFixed(value > 0.9995 || value < 0.1 ? 1 : 0)} %`;

export function meaning(pValue, sample) {
  if (pValue === null || pValue === undefined) return "";
  if (pValue <= 0) return "closer than any random pair looked at";
  if (pValue > 0.5) return "no closer than a random pair";
  return `about 1 in ${Math.round(1 / pValue).toLocaleString("en")} random pairs is this close`;
}

const short = (item) =>
  [item.rank, item.similarity === undefined || item.similarity === null ? null : percent(item.similarity), item.id.split("/").pop()]
    .filter((part) => part !== null && part !== undefined).join("  ");

const label = (item) =>
  [
    item.rank ? `Rank ${item.rank}` : null,
    item.id,
    item.similarity === undefined || item.similarity === null ? null : `similarity ${percent(item.similarity)}`,
    meaning(item.p_value) || null,
    item.label ? `label ${item.label}` : null,
    item.width ? `${item.width} by ${item.height} pixels` : null,
  ].filter(Boolean).join(", ");
