// Anything that takes over a second says what it does, for how long already, and can be stopped.

const SLOW = 900; // milliseconds until something is said
const $ = (id) => document.getElementById(id);

let timer = 0, stop = () => {};

// Begin to wait; the returned object's `done()` ends it, and `say(text)` tells what is being done.
export function waiting(text, cancel) {
  clearInterval(timer);
  const begun = Date.now();
  let told = text;
  stop = cancel;
  $("results").classList.add("busy");
  $("wait").hidden = true;
  const show = () => {
    const seconds = Math.round((Date.now() - begun) / 1000);
    $("waited").textContent = seconds > 2 ? `${told} ${seconds} s` : told;
  };
  const mine = (timer = setInterval(() => {
    if (Date.now() - begun < SLOW) return;
    $("wait").hidden = false;
    show();
  }, 250));
  return {
    say(next) {
      told = next;
      show();
    },
    done() {
      clearInterval(mine);
      if (timer !== mine) return; // another has begun
      $("wait").hidden = true;
      $("results").classList.remove("busy");
    },
  };
}

$("stop").addEventListener("click", () => stop());
