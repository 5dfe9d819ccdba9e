// A sheet of paper: what is drawn becomes a PNG to search by.

import * as api from "./api.js";

const SIDE = 280;
const LOOKED_AT = 12, DARK = 70; // pictures whose edges are looked at, and their mean grey under which they are dark

// Whether the collection's pictures are bright on dark: then so is what is drawn for them.
async function groundOf() {
  const { images } = await api.images(0, LOOKED_AT, true);
  const paper = Object.assign(document.createElement("canvas"), { width: 16, height: 16 }).getContext("2d", { willReadFrequently: true });
  const greys = await Promise.all(images.map(async ({ id, hash }) => {
    const picture = new Image();
    picture.src = api.thumbnail(id, { side: 192, hash });
    await picture.decode();
    paper.drawImage(picture, 0, 0, 16, 16);
    const { data } = paper.getImageData(0, 0, 16, 16);
    let sum = 0, edge = 0;
    for (let at = 0; at < 256; at++)
      if (at % 16 === 0 || at % 16 === 15 || at < 16 || at >= 240) sum += (data[4 * at] + data[4 * at + 1] + data[4 * at + 2]) / 3, edge++;
    return sum / edge;
  }));
  return greys.length > 0 && greys.reduce((sum, grey) => sum + grey, 0) / greys.length < DARK;
}

export function openSketch(dialog, done) {
  dialog.innerHTML = `
    <h2 id="sketch-title">Draw a query</h2>
    <canvas class="paper" width="${SIDE}" height="${SIDE}" tabindex="0" aria-label="Drawing area"></canvas>
    <div class="row">
      <label>Pen <input id="pen" type="range" min="4" max="40" value="18"></label>
      <label><input id="dark" type="checkbox"> white on black</label>
      <label>Colour <input id="colour" type="color" value="#000000"></label>
    </div>
    <div class="row">
      <button type="button" id="sketch-done" class="main">Search by drawing</button>
      <button type="button" id="sketch-undo">Undo</button>
      <button type="button" id="sketch-clear">Clear</button>
      <button type="button" id="sketch-close">Close</button>
    </div>`;
  const canvas = dialog.querySelector("canvas"), pen = dialog.querySelector("#pen");
  const dark = dialog.querySelector("#dark"), colour = dialog.querySelector("#colour");
  const paper = canvas.getContext("2d");
  const chosen = localStorage.getItem("sketch-dark");
  dark.checked = chosen === "1";
  const clear = () => {
    paper.fillStyle = dark.checked ? "#000" : "#fff";
    paper.fillRect(0, 0, SIDE, SIDE);
    colour.value = dark.checked ? "#ffffff" : "#000000";
  };
  clear();
  if (chosen === null)
    groundOf().then((isDark) => {
      if (!isDark || undone.length) return;
      dark.checked = true;
      clear();
    });
  const undone = []; // what was there before each line
  let last = null;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * SIDE) / box.width, ((event.clientY - box.top) * SIDE) / box.height];
  };
  const line = (event) => {
    const [x, y] = at(event);
    Object.assign(paper, { lineWidth: Number(pen.value), lineCap: "round", lineJoin: "round", strokeStyle: colour.value });
    paper.beginPath();
    paper.moveTo(...(last ?? [x, y]));
    paper.lineTo(x + 0.01, y);
    paper.stroke();
    last = [x, y];
  };
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    undone.push(paper.getImageData(0, 0, SIDE, SIDE));
    line(event);
  };
  canvas.onpointermove = (event) => last && line(event);
  canvas.onpointerup = canvas.onpointercancel = () => (last = null);
  dark.onchange = () => {
    localStorage.setItem("sketch-dark", dark.checked ? "1" : "0");
    clear();
  };
  dialog.querySelector("#sketch-undo").onclick = () => undone.length && paper.putImageData(undone.pop(), 0, 0);
  dialog.querySelector("#sketch-clear").onclick = () => {
    undone.push(paper.getImageData(0, 0, SIDE, SIDE));
    clear();
  };
  dialog.querySelector("#sketch-close").onclick = () => dialog.close();
  dialog.querySelector("#sketch-done").onclick = () =>
    canvas.toBlob((blob) => {
      dialog.close();
      done(new File([blob], "sketch.png", { type: "image/png" }));
    }, "image/png");
  dialog.showModal();
}
