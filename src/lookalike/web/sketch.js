// A sheet of paper: what is drawn becomes a PNG to search by.

const SIDE = 280;

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
      <button type="button" id="sketch-clear">Clear</button>
      <button type="button" id="sketch-close">Close</button>
    </div>`;
  const canvas = dialog.querySelector("canvas"), pen = dialog.querySelector("#pen");
  const dark = dialog.querySelector("#dark"), colour = dialog.querySelector("#colour");
  const paper = canvas.getContext("2d");
  dark.checked = localStorage.getItem("sketch-dark") === "1";
  const clear = () => {
    paper.fillStyle = dark.checked ? "#000" : "#fff";
    paper.fillRect(0, 0, SIDE, SIDE);
    colour.value = dark.checked ? "#ffffff" : "#000000";
  };
  clear();
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
    line(event);
  };
  canvas.onpointermove = (event) => last && line(event);
  canvas.onpointerup = canvas.onpointercancel = () => (last = null);
  dark.onchange = () => {
    localStorage.setItem("sketch-dark", dark.checked ? "1" : "0");
    clear();
  };
  dialog.querySelector("#sketch-clear").onclick = clear;
  dialog.querySelector("#sketch-close").onclick = () => dialog.close();
  dialog.querySelector("#sketch-done").onclick = () =>
    canvas.toBlob((blob) => {
      dialog.close();
      done(new File([blob], "sketch.png", { type: "image/png" }));
    }, "image/png");
  dialog.showModal();
}
