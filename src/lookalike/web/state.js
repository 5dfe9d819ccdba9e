// What is asked for, kept in the address: back, reload and a copied link show the same.

const EMPTY = { images: [], likes: [], dislikes: [] };
let listener = () => {};

export function read() {
  const given = new URLSearchParams(location.search);
  let query = {};
  try {
    query = JSON.parse(given.get("q") ?? "{}");
  } catch {
    query = {};
  }
  return {
    tab: given.get("tab") ?? "search",
    query: { ...EMPTY, ...query },
    versus: given.get("versus") ?? "",
    only: given.get("only") ?? "", // "selection": what was selected, as a grid
    draw: given.get("draw") ?? "", // how the map's dots are drawn: "webgl2" or "2d", else as it is faster here
  };
}

export function write(state, { replace = false } = {}) {
  const address = new URL(location.href);
  const query = Object.fromEntries(
    Object.entries(state.query).filter(([, value]) => (Array.isArray(value) ? value.length : value !== null && value !== "" && value !== undefined)),
  );
  const parts = new URLSearchParams();
  if (state.tab !== "search") parts.set("tab", state.tab);
  if (Object.keys(query).length) parts.set("q", JSON.stringify(query));
  if (state.versus) parts.set("versus", state.versus);
  if (state.only) parts.set("only", state.only);
  if (state.draw) parts.set("draw", state.draw);
  address.search = parts.toString();
  // The viewer has an entry of its own, which the answer to what was asked in it takes.
  history[replace || history.state?.viewer ? "replaceState" : "pushState"](null, "", address);
  listener(read());
}

export function onChange(work) {
  listener = work;
  history.scrollRestoration = "manual"; // what is to be scrolled to has to be loaded first
  addEventListener("popstate", () => work(read(), history.state?.y ?? 0));
}

// How far down a person was, for when they come back.
export function remember(y) {
  if (!history.state?.viewer) history.replaceState({ ...history.state, y }, "");
}

export const change = (changes) => {
  const state = read();
  write({ ...state, tab: "search", only: "", query: { ...state.query, ...changes } });
};

// A new question keeps how answers are ordered, and drops what was asked.
export const asking = (parts) => {
  const { encoder, distance, rerank, group } = read().query;
  return { ...EMPTY, encoder, distance, rerank, group, ...parts };
};

export const ask = (parts) => write({ ...read(), tab: "search", only: "", query: asking(parts) });

export const asks = (query) =>
  Boolean(query.images.length || query.likes.length || query.text || query.words || query.where);
