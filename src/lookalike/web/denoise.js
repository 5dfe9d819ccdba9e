// The Denoise tab: an image with noise, the same image denoised, and the nearest images of both.

import * as api from "./api.js";
import * as state from "./state.js";

const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

export function draw(place, { tell, view }) {
  const image = state.read().query.images[0];
  const level = make("input", { type: "range", min: 0, max: 1, step: 0.05, value: place.dataset.level ?? 0.5, id: "noise" });
  const value = make("output", { textContent: level.value });
  const out = make("div", { className: "pair" });
  const message = make("p", { role: "status" });
  const file = make("input", { type: "file", accept: "image/*", hidden: true });
  file.setAttribute("aria-label", "Image file");
  const choose = make("button", { type: "button", textContent: "Choose image", onclick: () => file.click() });
  file.onchange = async () => {
    try {
      const sent = await api.upload(file.files[0]);
      state.write({ ...state.read(), query: { ...state.read().query, images: [{ upload: sent.upload }] } });
    } catch (error) {
      tell(error.message);
    }
  };
  const run = async () => {
    place.dataset.level = level.value;
    value.textContent = level.value;
    if (!out.children.length) message.textContent = "Learning from the images of this collection. The first time takes a few seconds.";
    try {
      const result = await api.denoise({ image, noise: Number(level.value), k: 10 });
      message.textContent = result.message;
      out.replaceChildren(...[["noisy", "With noise"], ["denoised", "Denoised"]].map(([name, title]) => {
        const picture = make("img", { src: result[name].picture, alt: title });
        picture.onload = () => picture.classList.toggle("small", Math.max(picture.naturalWidth, picture.naturalHeight) <= 64);
        const nearest = make("div", { className: "row" }, ...result[name].matches.map((match, at) => {
          const button = make("button", { type: "button", title: match.id, onclick: () => view(result[name].matches, at) },
            make("img", { src: api.thumbnail(match.id), alt: match.id, width: 64, height: 64 }));
          button.className = "plain";
          return button;
        }));
        return make("figure", {}, picture, make("figcaption", { textContent: `${title}, and its nearest images` }), nearest);
      }));
    } catch (error) {
      message.textContent = error.message;
      out.replaceChildren();
    }
  };
  level.oninput = () => (value.textContent = level.value);
  level.onchange = run;
  const heading = make("h2", { textContent: "Add and remove noise" });
  const controls = make("div", { className: "row" }, choose, file, make("label", {}, "Noise ", level), value);
  if (!image) {
    const empty = make("div", { className: "empty" }, make("strong", { textContent: "No picture yet" }), "Choose one, or open one of the collection and press Denoise.");
    place.replaceChildren(heading, controls, empty);
    return;
  }
  place.replaceChildren(heading, controls, message, out);
  run();
}
