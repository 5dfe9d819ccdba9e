// The keys and gestures, in a dialog.

import { make } from "./words.js";

const KEYS = [
  ["Anywhere", [["/", "go to the search box"], ["?", "show this"], ["Escape", "close what is open; let the selection go"], ["drop or paste", "search by a picture or its address"]]],
  ["Among pictures", [["arrows, Home, End", "move"], ["Enter", "open"], ["l", "more like it"], ["d", "less like it"], ["s", "select; with Shift up to here"], ["Ctrl+A", "select all that are loaded"], ["Shift+click", "select up to there"], ["resting finger", "select; then touch others"]]],
  ["An open picture", [["\u2190 \u2192, swipe", "previous, next"], ["+ \u2212, wheel, two fingers", "closer, farther"], ["1, 0", "each pixel, the whole"], ["f", "full screen"], ["draw over it", "search by a part"]]],
  ["The search box", [["red bus", "words of captions, names and folders"], ["sun*", "any word that begins so"], ["-sun", "without that word"], ["= width > 1000", "a filter, after an equals sign"]]],
];

export function openHelp(dialog) {
  dialog.replaceChildren(
    make("header", {}, make("h2", { id: "help-title", textContent: "Keys and gestures" }),
      make("button", { type: "button", textContent: "\u00d7", onclick: () => dialog.close(), attributes: { "aria-label": "Close" } })),
    make("div", { className: "keys" }, ...KEYS.map(([title, pairs]) => make("section", {}, make("h3", { textContent: title }),
      make("dl", {}, ...pairs.flatMap(([key, what]) => [make("dt", {}, make("kbd", { textContent: key })), make("dd", { textContent: what })]))))));
  dialog.onclick = (event) => event.target === dialog && dialog.close();
  dialog.showModal();
}
