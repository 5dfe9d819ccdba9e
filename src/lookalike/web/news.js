// News of the index and of the server: how far a run is, and that the server is gone and back again.

import * as api from "./api.js";
import { leftOf, showRun } from "./files.js";
import { count, many } from "./words.js";

const AGAIN = 1500; // milliseconds between two looks for a server that is gone
const USED = ["indexed", "duplicate", "caption"];
const $ = (id) => document.getElementById(id);

export const leftOut = (outcomes) => Object.entries(outcomes).reduce((sum, [name, n]) => sum + (USED.includes(name) ? 0 : n), 0);

function stateOf({ gone, run, trouble, complete, images, committed, outcomes }) {
  if (gone) return "The index has been removed; searches use the version in memory.";
  if (run) return `Indexing: ${leftOf(run)}`;
  if (trouble) return trouble;
  if (!complete) return `Indexing: ${count(committed)} so far`;
  const left = leftOut(outcomes);
  return many(images, "image") + (left ? `, ${many(left, "file")} left out` : "");
}

// A browser has six connections for a host, and a stream keeps one: a tab that nobody looks at gives its own back.
export function listen({ onIndex, onBack }) {
  let stream = null, lost = false;

  const follow = () => {
    if (document.hidden === !stream) return;
    stream?.close();
    stream = document.hidden ? null : open();
  };

  function open() {
    const source = new EventSource("api/events");
    source.addEventListener("index", (event) => {
      const message = JSON.parse(event.data);
      // Read aloud when something has happened, and not each second while it does.
      $("state").setAttribute("aria-live", message.run ? "off" : "polite");
      $("state").textContent = stateOf(message);
      showRun($("view-files"), message.run);
      onIndex(message);
    });
    source.addEventListener("error", () => dispatchEvent(new Event("lost")));
    return source;
  }

  async function wait() {
    if (lost || (await api.alive())) return; // a single connection was cut
    lost = true;
    $("lost").hidden = false;
    $("state").textContent = "Not connected";
    while (!(await api.alive())) await new Promise((done) => setTimeout(done, AGAIN));
    lost = false;
    $("lost").hidden = true;
    stream?.close();
    stream = null;
    follow();
    onBack();
  }

  addEventListener("lost", wait);
  document.addEventListener("visibilitychange", follow);
  follow();
}
