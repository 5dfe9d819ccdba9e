// The Files tab: the outcome of every file, those left out first, with the reason.

import * as api from "./api.js";

const cell = (text, name = "td") => Object.assign(document.createElement(name), { textContent: text ?? "" });

const DONE = Object.assign(document.createElement("progress"), { ariaLabel: "Files that the index run has been through" });
const box = document.createElement("p"), label = document.createElement("span");
box.className = "run";
box.hidden = true;
box.append(DONE, label);

// How far a run is, and how long it will take at this rate.
export function leftOf({ done, total, rate }) {
  const seconds = rate > 0 ? Math.round((total - done) / rate) : null;
  const left = seconds === null ? "" : seconds < 100 ? `, ${seconds} s left` : `, ${Math.round(seconds / 60)} min left`;
  const speed = rate > 0 ? `, ${Math.round(rate).toLocaleString("en")} a second` : "";
  return `${done.toLocaleString("en")} of ${total.toLocaleString("en")}${speed}${left}`;
}

// Show an index run that is under way, or that none is.
export function showRun(place, run) {
  box.hidden = !run;
  if (!run) return;
  Object.assign(DONE, { max: run.total, value: run.done });
  label.textContent = `Indexing is under way: ${leftOf(run)}`;
  if (!place.contains(box)) place.prepend(box);
}

export async function drawFiles(place, tell) {
  let outcome = place.dataset.outcome ?? "left out";
  try {
    const first = await api.files(outcome, 0);
    const row = document.createElement("div");
    row.className = "row";
    const names = ["left out", ...Object.keys(first.outcomes).sort()];
    for (const name of names) {
      const button = Object.assign(document.createElement("button"), { type: "button" });
      button.textContent = name === "left out" ? name : `${name} ${first.outcomes[name].toLocaleString("en")}`;
      button.setAttribute("aria-pressed", name === outcome);
      button.onclick = () => {
        place.dataset.outcome = name;
        drawFiles(place, tell);
      };
      row.append(button);
    }
    const heading = document.createElement("h2");
    heading.textContent = `${first.total.toLocaleString("en")} ${first.total === 1 ? "file" : "files"}: ${outcome}`;
    if (!first.total) {
      const nothing = document.createElement("div");
      nothing.className = "empty";
      nothing.innerHTML = "<strong>No file was left out</strong>";
      if (outcome !== "left out") nothing.firstChild.textContent = "No such file";
      place.replaceChildren(box, row, nothing);
      return;
    }
    const table = document.createElement("table"), body = table.createTBody();
    const head = table.createTHead().insertRow();
    for (const name of ["File", "Outcome", "Stage", "Reason"]) head.append(cell(name, "th"));
    const add = (rows) => {
      for (const file of rows) {
        const line = body.insertRow();
        line.append(cell(file.path), cell(file.outcome), cell(file.stage), cell(file.reason));
      }
    };
    add(first.files);
    const scroll = document.createElement("div");
    scroll.className = "scroll";
    scroll.append(table);
    const more = Object.assign(document.createElement("button"), { type: "button", textContent: "More" });
    let next = first.next;
    more.hidden = next === null;
    more.onclick = async () => {
      try {
        const page = await api.files(outcome, next);
        add(page.files);
        next = page.next;
        more.hidden = next === null;
      } catch (error) {
        tell(error.message);
      }
    };
    place.replaceChildren(box, heading, row, scroll, more);
  } catch (error) {
    tell(error.message);
  }
}
