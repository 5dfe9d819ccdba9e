// The collection in the plane: dots when far, pictures when near, a line drawn round some to search or save them.

import * as api from "./api.js";
import { openPoints } from "./points.js";
import * as state from "./state.js";

const PICTURES = 150; // at most, at a time
const NEAR = 1500; // dots in sight, from which on downwards there are pictures
const LEAST_SIDE = 52, MOST_SIDE = 180; // of a picture, in CSS pixels
const NAMED = 24; // groups with a colour of their own
const REACH = 14; // how near to a dot a click must be

const make = (name, properties = {}, ...children) => {
  const { attributes, ...rest } = properties;
  const element = Object.assign(document.createElement(name), rest);
  for (const [key, value] of Object.entries(attributes ?? {})) element.setAttribute(key, value);
  element.append(...children);
  return element;
};
const button = (text, title, onclick) => make("button", { type: "button", textContent: text, title, onclick, attributes: { "aria-label": title } });
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
const formatted = (number) => number.toLocaleString("en");

let shown = null;

export async function draw(place, page) {
  const encoder = state.read().query.encoder ?? "";
  const key = JSON.stringify([page.facts?.version, encoder]);
  if (shown?.key === key && place.contains(shown.box)) return shown.resize();
  shown?.end();
  shown = null;
  if (!place.firstChild) place.replaceChildren(make("div", { className: "empty", textContent: "Loading the map ..." }));
  try {
    const map = await api.map(encoder);
    shown = new MapView(place, page, map, key);
  } catch (error) {
    if (error.status !== 404) page.tell(error.message);
    const again = button("Try again", "Try again", () => draw(place, page));
    const title = make("strong", { textContent: error.status === 404 ? "No map yet" : "The map can't be loaded" });
    place.replaceChildren(make("div", { className: "empty" }, title, make("p", { textContent: error.message }), again));
  }
  return undefined;
}

// Colours that stay apart, light and dark in turn: the hues go round by the golden angle.
function hue(at) {
  const h = (at * 137.508 + 205) % 360, light = [0.5, 0.38, 0.62][at % 3], s = 0.68;
  const part = (n) => {
    const k = (n + h / 30) % 12;
    return Math.round(255 * (light - s * Math.min(light, 1 - light) * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [part(0), part(8), part(4)];
}

class MapView {
  constructor(place, page, map, key) {
    Object.assign(this, { page, map, key, ids: new Map(), pictures: new Map(), near: [], selected: new Set(), alone: null, pointers: new Map(), side: LEAST_SIDE });
    this.positions = new Float32Array(bytes(map.positions));
    const number = (text) => text && new Uint16Array(bytes(text));
    this.groupings = { clusters: { of: number(map.clusters), name: (at) => `Cluster ${at + 1}` } };
    if (map.labels && map.label_names.length > 1)
      this.groupings.labels = { of: number(map.labels), name: (at) => map.label_names[at] };
    this.ending = new AbortController();
    this.#build(place);
    this.#group(this.groupings.labels ? "labels" : "clusters");
    this.whole();
  }

  end() {
    this.ending.abort();
    this.sized?.disconnect();
  }

  // The document -----------------------------------------------------------------------------------------------------

  #build(place) {
    const choose = make("select", { onchange: () => this.#group(choose.value) });
    for (const [name, text] of [["clusters", "density clusters"], ["labels", "labels"]])
      if (this.groupings[name]) choose.append(new Option(text, name));
    if (this.groupings.labels) choose.value = "labels";
    this.lassoing = button("Select", "Draw a line round images to select them (or hold Shift and drag)", () => this.#lasso(!this.lasso));
    this.lassoing.setAttribute("aria-pressed", "false");
    const controls = make("div", { className: "row" },
      make("label", {}, "Colour by ", choose), this.lassoing,
      button("\u2212", "Zoom out (minus)", () => this.zoom(1 / 1.6)), button("+", "Zoom in (plus)", () => this.zoom(1.6)),
      button("Whole map", "Show the whole map (0)", () => this.whole()));
    this.message = make("p", { className: "message", attributes: { "aria-live": "polite" } });
    this.legend = make("ul", { className: "legend", attributes: { "aria-label": "What the colours mean" } });
    this.over = make("canvas", { className: "over", tabIndex: 0, attributes: {
      role: "application",
      "aria-label": `Map of ${formatted(this.map.count)} images. Arrow keys move, plus and minus zoom, 0 shows all, Enter opens the image in the middle.` } });
    this.peek = make("figure", { className: "peek", hidden: true }, make("img", { alt: "" }), make("figcaption"));
    this.box = make("div", { className: "map" }, this.over, this.peek);
    place.replaceChildren(controls, make("div", { className: "mapped" }, this.box, this.legend), this.message);
    this.pen = this.over.getContext("2d");
    this.#points(state.read().draw);
    this.sized = new ResizeObserver(() => this.resize());
    this.sized.observe(this.box);
    this.#listen();
  }

  #points(way) {
    this.dots?.remove();
    this.dots = make("canvas", { attributes: { "aria-hidden": "true" } });
    this.box.prepend(this.dots);
    this.points = openPoints(this.dots, way);
    if (!this.points) return this.#points("2d");
    this.dots.addEventListener("webglcontextlost", () => {
      this.#points("2d");
      this.#paint();
      this.resize();
    });
    this.box.dataset.renderer = this.points.name;
    return this.points.places(this.positions);
  }

  #listen() {
    const on = (target, names, work, options) => {
      for (const name of names.split(" ")) target.addEventListener(name, work.bind(this), { signal: this.ending.signal, ...options });
    };
    on(this.over, "wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), this.#where(event));
    }, { passive: false });
    on(this.over, "pointerdown", this.#down);
    on(this.over, "pointermove", this.#move);
    on(this.over, "pointerup pointercancel", this.#up);
    on(this.over, "pointerleave", () => (this.peek.hidden = true));
    on(this.over, "dblclick", (event) => this.zoom(2, this.#where(event)));
    on(this.over, "keydown", this.#pressed);
    on(document.getElementById("clear-selection"), "click", () => {
      this.selected.clear();
      this.#paint();
    });
    on(matchMedia("(prefers-color-scheme: dark)"), "change", () => this.#paint());
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.box, ratio = devicePixelRatio || 1;
    if (!width || !height) return;
    for (const canvas of [this.dots, this.over])
      if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio))
        Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    const first = !this.width;
    Object.assign(this, { width, height, ratio });
    if (first) this.whole();
    this.changed();
  }

  // Colours ----------------------------------------------------------------------------------------------------------

  #group(name) {
    this.grouping = this.groupings[name];
    this.alone = null;
    const counts = new Map();
    for (const one of this.grouping.of) counts.set(one, (counts.get(one) ?? 0) + 1);
    const byCount = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    // Few groups stand by name, many by size; those that come last share a grey.
    const named = byCount.slice(0, NAMED).sort((a, b) => a[0] - b[0]);
    this.colour = new Map(named.map(([one], at) => [one, hue(at)]));
    const entry = (one, count, text) => {
      const swatch = make("span", { className: "swatch" });
      swatch.style.background = `rgb(${this.colour.get(one) ?? [128, 128, 128]})`;
      const item = make("button", { type: "button", title: `Show only ${text}` }, swatch, make("span", { className: "name", textContent: text }), make("small", { textContent: formatted(count) }));
      item.setAttribute("aria-pressed", "false");
      item.onclick = () => {
        this.alone = this.alone === one ? null : one;
        for (const other of this.legend.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === item && this.alone !== null));
        if (this.alone === null) this.whole();
        else this.#fit(this.grouping.of.reduce((rows, group, row) => (group === one && rows.push(row), rows), []));
        this.#paint();
      };
      return make("li", {}, item);
    };
    const rest = byCount.slice(NAMED).reduce((sum, [, count]) => sum + count, 0);
    this.legend.replaceChildren(
      ...named.map(([one, count]) => entry(one, count, this.grouping.name(one))),
      ...(rest ? [make("li", { className: "rest", textContent: `${formatted(byCount.length - NAMED)} more, grey: ${formatted(rest)}` })] : []));
    this.#paint();
  }

  #paint() {
    const { of } = this.grouping, colours = new Uint8Array(4 * of.length);
    const some = this.selected.size > 0;
    for (let row = 0; row < of.length; row++) {
      const [r, g, b] = this.colour.get(of[row]) ?? [128, 128, 128];
      const plain = some ? this.selected.has(row) : this.alone === null || of[row] === this.alone;
      colours.set([r, g, b, plain ? (some ? 255 : 200) : 26], 4 * row);
    }
    this.points.colours(colours);
    this.changed();
  }

  // The view ---------------------------------------------------------------------------------------------------------

  #fit(rows) {
    let [left, low, right, high] = [Infinity, Infinity, -Infinity, -Infinity];
    for (const row of rows) {
      left = Math.min(left, this.positions[2 * row]), right = Math.max(right, this.positions[2 * row]);
      low = Math.min(low, this.positions[2 * row + 1]), high = Math.max(high, this.positions[2 * row + 1]);
    }
    const scale = 0.94 * Math.min(this.width / Math.max(right - left, 0.02), this.height / Math.max(high - low, 0.02));
    this.at = { x: (left + right) / 2, y: (low + high) / 2, scale };
    this.changed();
  }

  whole() {
    if (!this.width) return;
    // A few that lie far out don't make the rest small.
    const within = [0, 1].map((axis) => {
      const sorted = this.positions.filter((_, at) => at % 2 === axis).sort();
      const quantile = (share) => sorted[Math.floor(share * (sorted.length - 1))];
      const [low, high] = [quantile(0.01), quantile(0.99)], margin = 0.1 * (high - low);
      return [low - margin, high + margin];
    });
    const rows = [];
    for (let row = 0; row < this.map.count; row++)
      if (within.every(([low, high], axis) => this.positions[2 * row + axis] >= low && this.positions[2 * row + axis] <= high)) rows.push(row);
    this.#fit(rows.length ? rows : this.grouping.of.keys());
    this.least = this.at.scale / 2;
  }

  zoom(factor, [x, y] = [this.width / 2, this.height / 2]) {
    const { at } = this, scale = Math.min(Math.max(at.scale * factor, this.least), 2e6);
    const step = 1 / at.scale - 1 / scale; // what lies under the pointer stays there
    this.at = { x: at.x + (x - this.width / 2) * step, y: at.y - (y - this.height / 2) * step, scale };
    this.changed();
  }

  pan(dx, dy) {
    this.at = { ...this.at, x: this.at.x - dx / this.at.scale, y: this.at.y + dy / this.at.scale };
    this.changed();
  }

  #where(event) {
    const box = this.over.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #screen(row) {
    const { x, y, scale } = this.at;
    return [(this.positions[2 * row] - x) * scale + this.width / 2, (y - this.positions[2 * row + 1]) * scale + this.height / 2];
  }

  // Never so far that nothing is in sight: the middle goes back to the nearest image.
  #keepInSight() {
    const halfX = this.width / 2 / this.at.scale, halfY = this.height / 2 / this.at.scale;
    let nearest = null, least = Infinity;
    for (let row = 0; row < this.map.count; row++) {
      const dx = Math.abs(this.positions[2 * row] - this.at.x), dy = Math.abs(this.positions[2 * row + 1] - this.at.y);
      if (dx < halfX && dy < halfY) return;
      if (dx * dx + dy * dy < least) [nearest, least] = [row, dx * dx + dy * dy];
    }
    if (nearest === null) return;
    this.at = { ...this.at, x: this.positions[2 * nearest], y: this.positions[2 * nearest + 1] };
  }

  changed() {
    if (!this.width || !this.at) return;
    this.peek.hidden = true;
    this.#keepInSight();
    if (!this.frame) this.frame = requestAnimationFrame(() => this.#draw());
    clearTimeout(this.looking);
    this.looking = setTimeout(() => this.#look().catch((error) => this.page.tell(error.message)), 90);
  }

  #draw() {
    this.frame = 0;
    const { at, ratio, pen } = this;
    const sparse = Math.sqrt((this.width * this.height) / this.map.count);
    const closer = Math.sqrt(at.scale / (2 * this.least));
    const size = Math.min(9, Math.max(2, sparse * 0.35 * closer));
    this.points.draw({ ...at, scale: at.scale * ratio }, size * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    for (const row of this.near) {
      const picture = this.pictures.get(row);
      if (!picture?.naturalWidth) continue;
      const [x, y] = this.#screen(row), larger = Math.max(picture.naturalWidth, picture.naturalHeight);
      const w = (this.side * picture.naturalWidth) / larger, h = (this.side * picture.naturalHeight) / larger;
      pen.imageSmoothingEnabled = larger > 64;
      pen.globalAlpha = this.selected.size && !this.selected.has(row) ? 0.35 : 1;
      pen.drawImage(picture, x - w / 2, y - h / 2, w, h);
      pen.lineWidth = 2;
      pen.strokeStyle = `rgb(${this.colour.get(this.grouping.of[row]) ?? [128, 128, 128]})`;
      pen.strokeRect(x - w / 2, y - h / 2, w, h);
    }
    pen.globalAlpha = 1;
    if (this.line) {
      const accent = getComputedStyle(this.box).getPropertyValue("--accent");
      pen.beginPath();
      for (const [x, y] of this.line) pen.lineTo(x, y);
      pen.closePath();
      pen.strokeStyle = accent;
      pen.fillStyle = "rgba(128, 160, 160, .18)";
      pen.fill();
      pen.stroke();
    }
  }

  // Of some images those whose pictures don't cover each other, the first come first. Distances grow in steps with
  // the zoom, so that the same ones stay while one looks about.
  #apart(rows, apart) {
    const cells = new Map(), taken = [];
    for (const row of rows) {
      const x = this.positions[2 * row], y = this.positions[2 * row + 1], left = Math.floor(x / apart), low = Math.floor(y / apart);
      let free = true;
      for (let i = left - 1; free && i <= left + 1; i++)
        for (let j = low - 1; free && j <= low + 1; j++)
          free = (cells.get(`${i} ${j}`) ?? []).every((other) =>
            Math.max(Math.abs(this.positions[2 * other] - x), Math.abs(this.positions[2 * other + 1] - y)) >= apart);
      if (!free) continue;
      const cell = `${left} ${low}`;
      cells.set(cell, [...(cells.get(cell) ?? []), row]);
      taken.push(row);
    }
    return taken;
  }

  // When the view rests: which images have their pictures shown.
  async #look() {
    const { x, y, scale } = this.at, sees = [];
    const halfX = this.width / 2 / scale, halfY = this.height / 2 / scale;
    for (let row = 0; row < this.map.count; row++)
      if (Math.abs(this.positions[2 * row] - x) < halfX && Math.abs(this.positions[2 * row + 1] - y) < halfY) sees.push(row);
    this.message.textContent = `${formatted(sees.length)} of ${formatted(this.map.count)} images in sight` +
      (sees.length > NEAR ? "; zoom in to see them." : ".");
    let near = [];
    // The fewer are in sight, the larger.
    this.side = Math.round(Math.min(MOST_SIDE, Math.max(LEAST_SIDE, 0.7 * Math.sqrt((this.width * this.height) / Math.max(1, sees.length)))));
    if (sees.length <= NEAR) {
      for (let apart = 2 ** (Math.ceil(2 * Math.log2(this.side / scale)) / 2); ; apart *= 2) {
        near = this.#apart(sees, apart);
        if (near.length <= PICTURES) break;
      }
    }
    const ids = await this.#named(near);
    this.near = near;
    near.forEach((row, at) => {
      if (this.pictures.has(row)) return;
      const picture = new Image();
      picture.onload = () => this.#again();
      picture.src = api.thumbnail(ids[at]);
      this.pictures.set(row, picture);
    });
    this.box.dataset.pictures = near.length;
    this.#again();
  }

  #again() {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.#draw());
  }

  async #named(rows) {
    const unknown = rows.filter((row) => !this.ids.has(row));
    for (let start = 0; start < unknown.length; start += 100_000) {
      const some = unknown.slice(start, start + 100_000);
      const { ids } = await api.mapIds({ version: this.map.version, encoder: this.map.encoder, rows: some });
      some.forEach((row, at) => this.ids.set(row, ids[at]));
    }
    return rows.map((row) => this.ids.get(row));
  }

  // What a person does -----------------------------------------------------------------------------------------------

  #nearest(x, y, most = 1) {
    const found = [];
    for (let row = 0; row < this.map.count; row++) {
      const [left, top] = this.#screen(row);
      found.push([(left - x) ** 2 + (top - y) ** 2, row]);
    }
    if (most === 1) return found.reduce((best, one) => (one[0] < best[0] ? one : best));
    return found.sort((a, b) => a[0] - b[0]).slice(0, most).map(([, row]) => row);
  }

  // The image under the pointer: a picture, or the nearest dot within reach.
  #hit(x, y) {
    for (const row of [...this.near].reverse()) {
      const [left, top] = this.#screen(row);
      if (this.pictures.get(row)?.naturalWidth && Math.abs(left - x) < this.side / 2 && Math.abs(top - y) < this.side / 2) return row;
    }
    const [squared, row] = this.#nearest(x, y);
    return squared < REACH ** 2 ? row : null;
  }

  async #open(row) {
    try {
      const [x, y] = this.#screen(row);
      const rows = [row, ...this.#nearest(x, y, 60).filter((other) => other !== row)];
      const ids = await this.#named(rows);
      this.peek.hidden = true;
      this.page.view(ids.map((id) => ({ id })), 0);
    } catch (error) {
      this.page.tell(error.message);
    }
  }

  #lasso(on) {
    this.lasso = on;
    this.lassoing.setAttribute("aria-pressed", String(on));
    this.over.classList.toggle("lasso", on);
  }

  #down(event) {
    if (event.button) return;
    this.over.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.#where(event));
    this.began = this.#where(event);
    this.dragged = this.pointers.size > 1;
    this.line = (this.lasso || event.shiftKey) && this.pointers.size === 1 ? [this.began] : null;
  }

  #move(event) {
    const now = this.#where(event), before = this.pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse") this.#hover(now);
      return;
    }
    if (Math.hypot(now[0] - this.began[0], now[1] - this.began[1]) > 4) this.dragged = true;
    if (this.line) {
      this.line.push(now);
      this.#again();
    } else if (this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const far = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1;
      this.zoom(far(now) / far(before), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
      this.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    } else if (this.dragged) this.pan(now[0] - before[0], now[1] - before[1]);
    if (this.dragged || this.line) this.pointers.set(event.pointerId, now);
  }

  #up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.line) {
      const line = this.line;
      this.line = null;
      this.#again();
      if (line.length > 2) this.#select(line);
    } else if (!this.dragged && event.type === "pointerup") {
      const row = this.#hit(...this.#where(event));
      if (row !== null) this.#open(row);
    }
  }

  #hover([x, y]) {
    clearTimeout(this.hovering);
    this.hovering = setTimeout(async () => {
      const row = this.#hit(x, y);
      this.over.classList.toggle("over-one", row !== null);
      if (row === null) {
        this.peek.hidden = true;
        return;
      }
      const [id] = await this.#named([row]).catch(() => []);
      if (!id) return;
      const [picture, caption] = this.peek.children;
      picture.src = api.thumbnail(id);
      caption.textContent = this.groupings.labels ? `${id} (${this.groupings.labels.name(this.groupings.labels.of[row])})` : id;
      this.peek.style.left = `${Math.min(x + 16, this.width - 150)}px`;
      this.peek.style.top = `${Math.min(y + 16, this.height - 160)}px`;
      this.peek.hidden = false;
    }, 60);
  }

  async #select(line) {
    const inside = [];
    for (let row = 0; row < this.map.count; row++) {
      const [x, y] = this.#screen(row);
      let odd = false;
      for (let i = 0, j = line.length - 1; i < line.length; j = i++) {
        const [ax, ay] = line[i], [bx, by] = line[j];
        if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
      }
      if (odd) inside.push(row);
    }
    if (!inside.length) {
      this.page.tell("No image lies within that line.");
      return;
    }
    try {
      const ids = await this.#named(inside);
      this.selected = new Set(inside);
      this.page.picked.clear();
      for (const id of ids) this.page.picked.add(id);
      this.page.showSelection();
      this.#lasso(false);
      this.#paint();
    } catch (error) {
      this.page.tell(error.message);
    }
  }

  #pressed(event) {
    const step = 80;
    const work = {
      ArrowLeft: () => this.pan(step, 0), ArrowRight: () => this.pan(-step, 0),
      ArrowUp: () => this.pan(0, step), ArrowDown: () => this.pan(0, -step),
      "+": () => this.zoom(1.6), "=": () => this.zoom(1.6), "-": () => this.zoom(1 / 1.6), 0: () => this.whole(),
      Enter: () => this.#open(this.#nearest(this.width / 2, this.height / 2)[1]),
      Escape: () => { this.line = null; this.#lasso(false); this.#again(); },
    }[event.key];
    if (!work || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    work();
  }
}
