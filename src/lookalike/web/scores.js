// The score reports kept with the index: a table with intervals, and the curves of LRAP@n.

import * as api from "./api.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 640, HEIGHT = 320, LEFT = 44, RIGHT = 30, TOP = 12, BOTTOM = 40;
// Told apart by dash as well as by colour.
const DASHES = ["", "7 4", "2 3", "10 3 2 3", "14 4", "1 5"];

const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

const shape = (name, attributes, text) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
};

function curves(reports) {
  const points = reports.flatMap((report) => report.lrap);
  const most = Math.max(2, ...points.map(([n]) => n));
  const low = Math.min(0.9, Math.floor(Math.min(...points.map(([, value]) => value)) * 10) / 10);
  const least = Math.min(most / 2, ...points.map(([n]) => n));
  const x = (n) => LEFT + (Math.log(n / least) / Math.log(most / least)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => TOP + ((1 - value) / (1 - low)) * (HEIGHT - TOP - BOTTOM);
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "curves",
    "aria-label": `LRAP at n for ${reports.map((report) => report.title).join("; ")}; the table holds the figures` });
  for (let tenth = Math.round(low * 10); tenth <= 10; tenth += 1) {
    const at = y(tenth / 10);
    svg.append(shape("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: at, y2: at, class: "rule" }),
      shape("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, (tenth / 10).toFixed(1)));
  }
  for (let n = 10 ** Math.ceil(Math.log10(least)); n <= most; n *= 10)
    svg.append(shape("text", { x: x(n), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, n.toLocaleString("en")));
  svg.append(shape("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, "n: the first n results; vertical: LRAP@n"));
  reports.forEach((report, at) => {
    const low95 = report.lrap.map(([n]) => [n, report.intervals[`LRAP@${n}`]?.[0]]);
    const high95 = report.lrap.map(([n]) => [n, report.intervals[`LRAP@${n}`]?.[1]]);
    const text = (list) => list.map(([n, value]) => `${x(n).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    if ([...low95, ...high95].every(([, value]) => Number.isFinite(value)))
      svg.append(shape("polygon", { points: `${text(low95)} ${text(high95.reverse())}`, class: `band c${at % 6}` }));
    svg.append(shape("polyline", { points: text(report.lrap), class: `curve c${at % 6}`, "stroke-dasharray": DASHES[at % 6] }));
  });
  return svg;
}

function legend(at) {
  const svg = shape("svg", { viewBox: "0 0 30 10", width: 30, height: 10, "aria-hidden": "true" });
  svg.append(shape("line", { x1: 0, x2: 30, y1: 5, y2: 5, class: `curve c${at % 6}`, "stroke-dasharray": DASHES[at % 6] }));
  return svg;
}

function table(reports, shown) {
  const element = make("table"), head = element.createTHead().insertRow(), body = element.createTBody();
  element.createCaption().textContent = "Means over the queries; beneath each its 95 % interval";
  head.append(make("td"));
  for (const name of ["Scored", "Queries", "Images", ...shown])
    head.append(make("th", { scope: "col", textContent: name }));
  reports.forEach((report, at) => {
    const row = body.insertRow();
    const title = make("th", { scope: "row", textContent: report.title });
    if (!report.current) title.append(make("small", { textContent: " of an earlier version of the index" }));
    row.append(make("td", {}, legend(at)), title, make("td", { textContent: report.queries.toLocaleString("en") }),
      make("td", { textContent: report.database.toLocaleString("en") }));
    for (const name of shown) {
      const cell = row.insertCell(), interval = report.intervals[name];
      cell.append(report.metrics[name]?.toFixed(3) ?? "");
      if (interval) cell.append(make("small", { textContent: `${interval[0].toFixed(3)} to ${interval[1].toFixed(3)}` }));
    }
  });
  return make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Scores" }, element);
}

export async function draw(place, { tell }) {
  let content;
  try {
    content = await api.reports();
  } catch (error) {
    tell(error.message);
    return;
  }
  const heading = make("h2", { textContent: "Quality of the rankings" });
  if (!content.reports.length) {
    place.replaceChildren(heading, make("div", { className: "empty" },
      make("strong", { textContent: "Nothing has been scored yet" }),
      "Scores need images whose right answers are known: from their folders, a list, or a file given with --truth. Run ",
      make("code", { textContent: "lookalike score --leave-one-out --keep -i INDEX" })));
    return;
  }
  place.replaceChildren(heading, curves(content.reports), table(content.reports, content.shown));
}
