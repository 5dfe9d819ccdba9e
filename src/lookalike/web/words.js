// What is said in more than one place, and small things that many parts need.

export const make = (name, properties = {}, ...children) => {
  const { dataset, attributes, ...rest } = properties;
  const element = Object.assign(document.createElement(name), rest);
  Object.assign(element.dataset, dataset ?? {});
  for (const [key, value] of Object.entries(attributes ?? {})) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
};

export const count = (number) => number.toLocaleString("en");
export const many = (number, one, more = `${one}s`) => `${count(number)} ${number === 1 ? one : more}`;

// The words of the service for how alike an answer is, as headings.
export const LIKENESS = {
  "same picture": "The same picture, or nearly",
  "very alike": "Very alike",
  alike: "Alike",
  "the rest": "Nothing closer: the rest only fills up",
};

export const percent = (value) => `${(100 * value).toFixed(value > 0.9995 || value < 0.1 ? 1 : 0)} %`;

export function meaning(pValue, isBound = false) {
  if (pValue === null || pValue === undefined) return "";
  if (pValue > 0.5) return "no closer than two pictures drawn at random";
  const odds = count(Math.max(1, Math.round(1 / pValue)));
  return `of ${odds} pairs of pictures drawn at random here, ${isBound ? "fewer than" : "about"} one is as close`;
}

export const nameOf = (item) => item.caption?.split("\n")[0] || (item.id ?? "").split("/").pop() || item.id;

const NAMES = "sent-names"; // of pictures that were sent: a reload knows them still
const names = JSON.parse(sessionStorage.getItem(NAMES) ?? "{}");
export const named = (image) => image.id ?? names[image.upload] ?? (image.url ? new URL(image.url).pathname.split("/").pop() || "linked picture" : "your image");
export function rememberName(upload, name) {
  names[upload] = name;
  sessionStorage.setItem(NAMES, JSON.stringify(Object.fromEntries(Object.entries(names).slice(-50))));
}

// Copy a text also where browsers give pages no clipboard: over plain HTTP from another machine.
export async function copy(text, place = document.body) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = make("textarea", { value: text, readOnly: true, className: "offscreen" });
    const before = document.activeElement;
    place.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    before?.focus();
    return done;
  }
}

// One sentence over everything: in the open dialog, as what lies outside of it is neither seen nor read aloud.
const toast = document.getElementById("toast");
let timer = 0;
export function tell(message) {
  ([...document.querySelectorAll("dialog[open]")].pop() ?? document.body).append(toast);
  toast.textContent = message;
  toast.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => (toast.hidden = true), 7000);
}
