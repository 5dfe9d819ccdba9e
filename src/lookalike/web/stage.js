// One picture that fits its place: zoom by wheel, fingers and keys, and a part of it to be drawn.

import { make } from "./words.js";

const MOST = 16; // screen pixels for one of the picture, at most
const SMALL = 64; // pictures with no side over this are drawn with hard pixels, and larger at once
const LEAST = 16; // pixels on the screen of a part's side: less is a slip of the hand
const HANDLES = ["nw", "ne", "sw", "se"];

export class Stage {
  // `onStep(by)` is told of a swipe, `onPart(isThere)` that a part was drawn or let go, `onZoom(scale)` how large it is.
  constructor({ onStep, onPart, onZoom }) {
    Object.assign(this, { onStep, onPart, onZoom, pointers: new Map(), size: { width: 1, height: 1 } });
    this.picture = make("img", { alt: "", draggable: false });
    this.box = make("div", { className: "crop", hidden: true, tabIndex: 0, attributes: { role: "group", "aria-label": "The part to search by. Arrow keys move it, with Shift they change its size." } },
      ...HANDLES.map((name) => make("span", { className: `handle ${name}`, dataset: { corner: name } })));
    this.element = make("div", { className: "stage" }, this.picture, this.box);
    this.resized = new ResizeObserver(() => this.fit());
    this.resized.observe(this.element);
    this.listen();
  }

  // Show a picture: a small file at once, a sharper one when it has come.
  show({ small, large, width, height, alt }) {
    const mine = (this.wanted = {});
    this.part = null;
    this.at = null;
    this.box.hidden = true;
    this.onPart(false);
    this.picture.alt = alt;
    this.picture.classList.remove("broken");
    if (width) this.size = { width, height };
    this.picture.src = small ?? large;
    const sized = (from) => {
      if (this.wanted !== mine) return;
      if (!width) this.size = { width: from.naturalWidth, height: from.naturalHeight };
      this.fit();
    };
    this.picture.onload = () => sized(this.picture);
    this.picture.onerror = () => this.picture.classList.add("broken");
    if (width) this.fit();
    if (small) this.sharpen(large);
  }

  // Replace what is shown by a file of more pixels.
  sharpen(source) {
    const mine = this.wanted, sharper = new Image();
    sharper.src = source;
    return sharper.decode().then(() => {
      if (this.wanted === mine) this.picture.src = source;
    }, () => {});
  }

  get fitting() {
    const { width, height } = this.size, place = this.element;
    const upscaled = Math.max(width, height) <= SMALL ? MOST : 2;
    return Math.min(place.clientWidth / width, place.clientHeight / height, upscaled);
  }

  fit() {
    this.element.classList.toggle("small", Math.max(this.size.width, this.size.height) <= SMALL);
    this.scale = this.fitting;
    this.x = this.y = 0;
    this.put();
  }

  put() {
    const { width, height } = this.size, place = this.element;
    const w = width * this.scale, h = height * this.scale;
    const bound = (value, room) => Math.max(-room, Math.min(room, value));
    this.x = bound(this.x, Math.max(0, (w - place.clientWidth) / 2));
    this.y = bound(this.y, Math.max(0, (h - place.clientHeight) / 2));
    const left = (place.clientWidth - w) / 2 + this.x, top = (place.clientHeight - h) / 2 + this.y;
    Object.assign(this.picture.style, { width: `${w}px`, height: `${h}px`, left: `${left}px`, top: `${top}px` });
    this.origin = { left, top };
    this.element.classList.toggle("zoomed", this.zoomed);
    if (this.part) {
      const [x, y, wide, high] = this.part;
      Object.assign(this.box.style, { left: `${left + x * this.scale}px`, top: `${top + y * this.scale}px`, width: `${wide * this.scale}px`, height: `${high * this.scale}px` });
    }
    this.onZoom(this.scale);
  }

  get zoomed() {
    return this.scale > this.fitting * 1.01;
  }

  zoom(factor, at) {
    this.to(this.scale * factor, at);
  }

  to(scale, [x, y] = [this.element.clientWidth / 2, this.element.clientHeight / 2]) {
    const next = Math.min(Math.max(scale, this.fitting), Math.max(MOST, this.fitting));
    const share = next / this.scale, middleX = this.element.clientWidth / 2, middleY = this.element.clientHeight / 2;
    // What lies under the pointer stays there.
    this.x = x - middleX - (x - middleX - this.x) * share;
    this.y = y - middleY - (y - middleY - this.y) * share;
    this.scale = next;
    this.put();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.put();
  }

  // A part in the middle, to be moved by pointer and keys.
  begin() {
    const { width, height } = this.size;
    this.setPart(width * 0.2, height * 0.2, width * 0.6, height * 0.6);
    this.box.focus();
  }

  setPart(x, y, wide, high) {
    const { width, height } = this.size;
    const w = Math.min(width, Math.max(1, wide)), h = Math.min(height, Math.max(1, high));
    this.part = [Math.min(Math.max(0, x), width - w), Math.min(Math.max(0, y), height - h), w, h];
    this.box.hidden = false;
    this.put();
    this.onPart(true);
  }

  drop() {
    this.part = null;
    this.box.hidden = true;
    this.onPart(false);
  }

  // The part in whole pixels of the upright original.
  get pixels() {
    const [x, y, w, h] = this.part, left = Math.floor(x + 1e-6), top = Math.floor(y + 1e-6);
    return [left, top, Math.max(1, Math.min(this.size.width, Math.ceil(x + w - 1e-6)) - left), Math.max(1, Math.min(this.size.height, Math.ceil(y + h - 1e-6)) - top)];
  }

  listen() {
    const place = this.element;
    const where = (event) => {
      const box = place.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const inPicture = ([x, y]) => [
      Math.min(this.size.width, Math.max(0, (x - this.origin.left) / this.scale)),
      Math.min(this.size.height, Math.max(0, (y - this.origin.top) / this.scale)),
    ];
    place.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), where(event));
    }, { passive: false });
    place.addEventListener("dblclick", (event) => (this.zoomed ? this.fit() : this.to(Math.max(1, 2 * this.scale), where(event))));
    place.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      place.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, where(event));
      this.began = where(event);
      const corner = event.target.dataset.corner, isPart = this.part && this.box.contains(event.target);
      const kind = this.pointers.size > 1 ? "pinch" : corner ? "corner" : isPart ? "move" : this.zoomed ? "pan" : event.pointerType === "touch" ? "swipe" : "draw";
      this.doing = { kind, corner, part: this.part };
    });
    place.addEventListener("pointermove", (event) => {
      const now = where(event), before = this.pointers.get(event.pointerId);
      if (!before) return;
      const { kind, corner, part } = this.doing, dx = now[0] - before[0], dy = now[1] - before[1];
      if (kind === "pinch" && this.pointers.size === 2) {
        const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
        const far = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1;
        this.zoom(far(now) / far(before), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
        this.pan(dx / 2, dy / 2);
      } else if (kind === "pan") this.pan(dx, dy);
      else if (kind === "move") this.setPart(this.part[0] + dx / this.scale, this.part[1] + dy / this.scale, part[2], part[3]);
      else if (kind === "corner" || kind === "draw") {
        // From the corner across, or where the pointer went down.
        const fixed = kind === "draw" ? inPicture(this.began)
          : [corner.endsWith("w") ? part[0] + part[2] : part[0], corner.startsWith("n") ? part[1] + part[3] : part[1]];
        const [x, y] = inPicture(now);
        if (Math.hypot(now[0] - this.began[0], now[1] - this.began[1]) > 4)
          this.setPart(Math.min(x, fixed[0]), Math.min(y, fixed[1]), Math.abs(x - fixed[0]), Math.abs(y - fixed[1]));
      }
      this.pointers.set(event.pointerId, now);
    });
    const up = (event) => {
      if (!this.pointers.delete(event.pointerId)) return;
      const [x, y] = where(event), across = x - this.began[0];
      const { kind } = this.doing;
      if (kind === "swipe" && event.type === "pointerup" && Math.abs(across) > 50 && Math.abs(across) > 2 * Math.abs(y - this.began[1])) this.onStep(across < 0 ? 1 : -1);
      if (kind === "draw" && this.part && Math.min(this.part[2], this.part[3]) * this.scale < LEAST) this.drop();
      if (kind === "draw" && !this.part) this.drop();
    };
    place.addEventListener("pointerup", up);
    place.addEventListener("pointercancel", up);
    this.box.addEventListener("keydown", (event) => {
      const step = (event.key.startsWith("Arrow") && Math.max(1, Math.round(10 / this.scale))) || 0;
      if (!step) return;
      const dx = { ArrowLeft: -step, ArrowRight: step }[event.key] ?? 0, dy = { ArrowUp: -step, ArrowDown: step }[event.key] ?? 0;
      const [x, y, w, h] = this.part;
      if (event.shiftKey) this.setPart(x, y, w + dx, h + dy);
      else this.setPart(x + dx, y + dy, w, h);
      event.preventDefault();
      event.stopPropagation();
    });
  }
}
