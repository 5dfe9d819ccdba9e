// Images in rows of one width, of which only those in sight are in the document: 60,000 scroll like 60.

import * as api from "./api.js";
import { LIKENESS, make, nameOf } from "./words.js";

const GAP = 8, CAPTION = 24, HEADING = 44;
const SMALL = 64; // pictures with no side over this are drawn with hard pixels
const HELD = 500; // milliseconds after which a finger that rests selects
const LEVELS = Object.keys(LIKENESS);

// How high a row is about, by what a person chose and how wide the screen is.
const targetOf = (width) => (width < 500 ? 110 : width < 1600 ? 170 : 220) * Number(localStorage.getItem("tile-size") ?? 1);

export class Grid {
  // `more(offset)` returns {items, next, total}; `onOpen(grid, at)` and `onAct(name, item, grid)` tell what a person did.
  constructor(place, { more, onOpen, onAct, picked, title = "" }) {
    Object.assign(this, { more, onOpen, onAct, picked, items: [], boxes: [], headings: [], next: 0, loading: null, shown: new Map(), current: 0 });
    this.place = place;
    this.space = make("div", { className: "space", attributes: { role: "list", "aria-label": "Images" } });
    place.replaceChildren(...(title ? [make("h2", { textContent: title })] : []), this.space);
    this.draw = this.draw.bind(this);
    // It also tells the width once at first, when it is known: laying out anew would make every tile twice.
    this.resized = new ResizeObserver(() => this.place.clientWidth !== this.width && this.layout());
    this.resized.observe(place);
    addEventListener("scroll", this.draw, { passive: true });
    this.space.addEventListener("click", (event) => this.clicked(event));
    this.space.addEventListener("keydown", (event) => this.pressed(event));
    this.space.addEventListener("focusin", (event) => this.makeCurrent(this.atOf(event)));
    this.holding();
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
      // No answer is more alike than one before it, on whichever page.
      for (const item of page.items) {
        const level = LEVELS.indexOf(item.likeness);
        if (level >= 0) item.level = this.worst = Math.max(this.worst ?? 0, level);
      }
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

  // Load until a place on the page is there, and go there.
  async reach(y) {
    for (let tries = 0; tries < 40 && this.next !== null && document.body.scrollHeight < y + innerHeight && !this.ended; tries++) await this.load();
    if (!this.ended) scrollTo(0, y);
  }

  layout() {
    const width = (this.width = this.place.clientWidth);
    if (!width) return;
    const target = targetOf(width);
    this.boxes = [];
    this.headings = [];
    let row = [], ratios = 0, top = 0;
    const close = (height) => {
      let left = 0;
      for (const ratio of row) {
        const wide = Math.max(1, ratio * height);
        this.boxes.push([left, top, wide, height]);
        left += wide + GAP;
      }
      top += height + CAPTION + GAP;
      row = [];
      ratios = 0;
    };
    const last = () => row.length && close(Math.min(target, (width - GAP * (row.length - 1)) / ratios));
    let level;
    for (const [at, item] of this.items.entries()) {
      if (item.level !== undefined && item.level !== level) {
        last();
        this.headings.push([at, top, LIKENESS[LEVELS[item.level]], item.level]);
        top += HEADING;
        level = item.level;
      }
      const ratio = Math.min(4, Math.max(0.35, (item.width || 1) / (item.height || 1)));
      row.push(ratio);
      ratios += ratio;
      const height = (width - GAP * (row.length - 1)) / ratios;
      if (height <= target) close(height);
    }
    last();
    const rest = this.next === null ? 0 : 400;
    this.space.style.height = `${top + rest}px`;
    for (const old of this.space.querySelectorAll(":scope > .heading")) old.remove();
    this.space.append(...this.headings.map(([, y, text, step]) => {
      const heading = make("h2", { className: "likeness", textContent: text, dataset: { level: step } });
      heading.style.top = `${y}px`;
      return make("div", { className: "heading", attributes: { role: "listitem" } }, heading);
    }));
    // What is there moves to its new place; so focus stays, and nothing flickers.
    for (const [at, tile] of this.shown) {
      if (this.boxes[at]) this.put(tile, at);
      else {
        tile.remove();
        this.shown.delete(at);
      }
    }
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
    if (this.next !== null && (!last || last[1] < to + 400)) this.load().catch((error) => this.onAct("error", error, this));
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
    const item = this.items[at], width = this.boxes[at][2];
    const tile = make("div", { className: "tile", dataset: { at, id: item.id, ...(item.rank ? { rank: item.rank } : {}) }, attributes: { role: "listitem" } });
    if (Math.max(item.width || 999, item.height || 999) <= SMALL) tile.classList.add("small");
    this.put(tile, at);
    const picture = make("img", { alt: "", decoding: "async" });
    picture.srcset = [192, 384].map((side) => {
      const wide = Math.max(1, Math.round((side * (item.width || 1)) / Math.max(item.width || 1, item.height || 1)));
      return `${api.thumbnail(item.id, { side, hash: item.hash })} ${wide}w`;
    }).join(", ");
    picture.sizes = `${Math.round(width)}px`;
    picture.src = api.thumbnail(item.id, { hash: item.hash });
    const open = make("button", { type: "button", dataset: { act: "open" }, tabIndex: at === this.current ? 0 : -1, attributes: { "aria-label": label(item) } }, picture);
    const caption = make("p", { textContent: nameOf(item), title: `${item.caption ? `${item.caption}\n` : ""}${item.id}` });
    const acts = make("div", { className: "acts" }, ...[["like", "+", "More like"], ["dislike", "\u2212", "Less like"], ["pick", "\u2713", "Select"]].map(([name, sign, title]) =>
      make("button", { type: "button", dataset: { act: name }, textContent: sign, title, tabIndex: -1, attributes: { "aria-label": `${title} ${item.id}` } })));
    tile.append(open, caption, acts);
    if (item.group?.length) tile.append(make("span", { className: "grouped", textContent: `+${item.group.length}`, title: item.group.join("\n") }));
    this.space.append(tile);
    this.shown.set(at, tile);
    this.mark(at);
  }

  put(tile, at) {
    const [left, top, width, height] = this.boxes[at];
    Object.assign(tile.style, { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height + CAPTION}px` });
  }

  // Show whether an image is selected.
  mark(at) {
    const tile = this.shown.get(at);
    if (!tile) return;
    const selected = this.picked.has(this.items[at].id);
    tile.classList.toggle("picked", selected);
    tile.querySelector("[data-act=pick]").setAttribute("aria-pressed", String(selected));
  }

  marks() {
    for (const at of this.shown.keys()) this.mark(at);
  }

  atOf(event) {
    return Number(event.target.closest(".tile")?.dataset.at ?? NaN);
  }

  // The tile that the Tab key comes to; arrows move on from it.
  makeCurrent(at) {
    if (Number.isNaN(at)) return;
    for (const [one, tile] of this.shown) tile.querySelector("button").tabIndex = one === at ? 0 : -1;
    this.current = at;
  }

  // A finger that rests on a picture selects it; from then on a touch selects more.
  holding() {
    let timer = 0;
    const stop = () => clearTimeout(timer);
    this.space.addEventListener("pointerdown", (event) => {
      this.held = false;
      const at = this.atOf(event);
      if (event.pointerType !== "touch" || Number.isNaN(at)) return;
      timer = setTimeout(() => {
        this.held = true;
        this.pick(at);
      }, HELD);
    });
    for (const name of ["pointerup", "pointercancel", "pointermove"]) this.space.addEventListener(name, (event) => (name !== "pointermove" || Math.hypot(event.movementX, event.movementY) > 6) && stop());
    this.space.addEventListener("contextmenu", (event) => this.held && event.preventDefault());
  }

  pick(at, range = false) {
    const from = range && this.anchor !== undefined ? this.anchor : at;
    this.onAct("pick", this.items.slice(Math.min(from, at), Math.max(from, at) + 1), this, range);
    this.anchor = at;
    this.marks();
  }

  clicked(event) {
    const act = event.target.closest("[data-act]")?.dataset.act, at = this.atOf(event);
    if (!act || Number.isNaN(at) || this.held) return;
    const touched = event.pointerType === "touch" && this.picked.size > 0;
    if (act === "pick" || touched || (act === "open" && (event.shiftKey || event.ctrlKey || event.metaKey))) this.pick(at, event.shiftKey);
    else if (act === "open") this.onOpen(this, at);
    else this.onAct(act, this.items[at], this);
  }

  pressed(event) {
    const at = this.atOf(event);
    if (Number.isNaN(at) || event.altKey) return;
    if (event.ctrlKey || event.metaKey) {
      if (event.key !== "a") return;
      this.onAct("pick", this.items, this, true);
      this.marks();
      event.preventDefault();
      return;
    }
    const act = { l: "like", d: "dislike" }[event.key];
    const to = {
      ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: this.boxes.length - 1,
      ArrowDown: this.inRow(at, 1), ArrowUp: this.inRow(at, -1),
    }[event.key];
    if (act) this.onAct(act, this.items[at], this);
    else if (event.key === "s" || event.key === "S") this.pick(at, event.shiftKey);
    else if (to !== undefined) {
      this.focus(to);
      if (event.shiftKey) this.pick(this.current, true);
    } else return;
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
    this.makeCurrent(at);
    button.focus();
    button.scrollIntoView({ block: "nearest" });
  }
}

const label = (item) =>
  [
    item.caption ? nameOf(item) : null,
    item.id,
    item.likeness && item.likeness !== "the rest" ? item.likeness : null,
    item.label ? `label ${item.label}` : null,
    item.width ? `${item.width} by ${item.height} pixels` : null,
  ].filter(Boolean).join(", ");
