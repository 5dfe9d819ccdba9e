"""How many frames a second the map moves at, in headless Chromium: as the page draws by itself, and each way forced.

Where there is no graphics card, WebGL is drawn in software, and the page chooses the plain canvas.

PYTHONPATH=src:tests python benchmarks/map_frames.py [--images 100000] -> runs/map-frames/, results/map-frames.csv

The images are noise about twelve others, so the map has twelve clusters; what is drawn depends only on how many dots there
are and where.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import numpy as np
from study import keep

import lookalike
from chromium import opened
from lookalike.index.map import make_map
from served import Site

#: Zooms in and out and moves, a step a frame, and notes how long each took.
SCRIPT = """const done = arguments[0], over = document.querySelector('.map .over'), times = [];
  const box = over.getBoundingClientRect(), frames = 120;
  let last = 0, n = 0;
  const step = (now) => {
    if (last) times.push(now - last);
    last = now;
    if (n++ > frames) return done(times);
    over.dispatchEvent(new WheelEvent('wheel', { deltaY: n < frames / 2 ? -20 : 20, cancelable: true,
      clientX: box.left + box.width / 2 + n, clientY: box.top + box.height / 2 }));
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);"""


#: What is asked of the page, besides the map.
WAYS = {"as the page chooses": "", "webgl2 forced": "&draw=webgl2", "2d forced": "&draw=2d"}
#: Returns what WebGL is drawn by.
NAMED = """const gl = document.createElement("canvas").getContext("webgl2");
  const named = gl?.getExtension("WEBGL_debug_renderer_info");
  return named ? gl.getParameter(named.UNMASKED_RENDERER_WEBGL) : null;"""


def summary(times):
    flat = np.concatenate(times)
    return {
        "median_ms": round(float(np.median(flat)), 1),
        "p95_ms": round(float(np.quantile(flat, 0.95)), 1),
        "medians_of_repeats_ms": [round(float(np.median(one)), 1) for one in times],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=100_000)
    n = parser.parse_args().images
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        centres = rng.uniform(64, 192, (12, 8, 8))[rng.integers(0, 12, n)]
        np.save(f"{folder}/a.npy", rng.normal(centres, 16).clip(0, 255).astype(np.uint8))
        index = lookalike.build_index(f"{folder}/a.npy", "pixels", f"{folder}/a.lookalike")
        make_map(index)
        site = Site(index.path)
        result = {"images": n, "screen": [1200, 800]}
        times = {way: [] for way in WAYS}
        for _ in range(3):
            for way, drawing in WAYS.items():
                browser = opened()
                try:
                    browser.set_script_timeout(120)
                    browser.get(f"{site.url}/?tab=map{drawing}")
                    while "in sight" not in browser.find_element("id", "view-map").text:
                        time.sleep(0.05)
                    drawn = browser.find_element("css selector", ".map").get_attribute("data-renderer")
                    result["webgl"] = browser.execute_script(NAMED)
                    times[way].append(browser.execute_async_script(SCRIPT)[1:])
                    result[way] = {"drawn by": drawn, **summary(times[way])}
                finally:
                    browser.quit()
        site.stop()
    settings = {name: result.pop(name) for name in ("images", "screen", "webgl")}
    keep("map-frames", "map-frames", result, peers=["selenium"], settings=settings)
    print(result)


if __name__ == "__main__":
    main()
