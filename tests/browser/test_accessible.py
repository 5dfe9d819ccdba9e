"""axe-core over every view of the page, light and dark, wide and on a phone."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import lookalike
from lookalike import build_index, open_index
from lookalike.cli.main import run
from lookalike.imaging.encode import to_png
from lookalike.index.map import make_map

pytest.importorskip("uvicorn", reason="the extra serve isn't installed")
pytest.importorskip("selenium.webdriver", reason="selenium isn't installed")
# Only its copy of axe-core is of use here: the package itself drives another kind of browser.
AXE = importlib.util.find_spec("axe_playwright_python")
if AXE is None:
    pytest.skip("axe-core isn't installed (pip install --group test)", allow_module_level=True)

from chromium import Page, needs_chromium, opened  # noqa: E402
from served import Site  # noqa: E402

pytestmark = needs_chromium

COUNT = 300
#: Returns what axe-core finds wrong with what is shown: [rule, how grave, where].
RUN = """const done = arguments[0];
  axe.run(document, { resultTypes: ["violations"] }).then(
    ({ violations }) => done(violations.flatMap(({ id, impact, nodes }) =>
      nodes.map((node) => [id, impact, node.target.join(" "), node.failureSummary]))),
    (error) => done([["axe-core failed", "serious", "", String(error)]]));"""

#: Returns letters in drawings, at which axe-core doesn't look, whose colour is too near to their ground (WCAG 2.1,
#: 1.4.3: 4.5, of large letters 3).
LETTERS = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
const rgba = (colour) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const bad = [];
const letters = [...document.querySelectorAll("svg text")].filter((one) => one.checkVisibility());
for (const element of letters) {
  let ground = null;
  for (let up = element; up && !ground; up = up.parentElement) {
    const colour = rgba(getComputedStyle(up).backgroundColor);
    if (colour[3] === 255) ground = colour;
  }
  const style = getComputedStyle(element);
  const [a, b] = [light(rgba(style.fill)), light(ground ?? [255, 255, 255])].sort((x, y) => y - x);
  const large = parseFloat(style.fontSize) >= 24;
  if ((a + 0.05) / (b + 0.05) < (large ? 3 : 4.5)) bad.push(`${element.textContent}: ${((a + 0.05) / (b + 0.05)).toFixed(2)}`);
}
return [letters.length, bad];
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A server of 300 digits with a map, a kept score and a file that was left out; and one of an index without those."""
    folder = tmp_path_factory.mktemp("accessible")
    photos = folder / "photos"
    images = lookalike.open_collection(f"mnist:test[0:{COUNT}]")
    for i, image in enumerate(images.array()):
        place = photos / f"digit {images.labels[i]}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:03}.png").write_bytes(to_png(image))
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    index = photos / ".lookalike"
    build_index(photos, "hog", index)
    make_map(open_index(index))
    assert run(["score", "--leave-one-out", "--keep", "-i", str(index)]) == 0
    build_index("mnist:test[0:20]", "pixels", folder / "bare.lookalike")
    made = Site(index)
    made.bare = Site(folder / "bare.lookalike")
    yield made
    made.bare.stop()
    made.stop()


@pytest.fixture(scope="module", params=[
    {}, {"dark": True}, {"width": 390, "height": 800, "mobile": True}, {"width": 390, "height": 800, "mobile": True, "dark": True},
], ids=["light", "dark", "phone", "phone dark"])  # fmt: skip
def browser(request):
    made = opened(**request.param)
    yield made
    made.quit()


class Judged(Page):
    def faults(self):
        """Return what axe-core calls serious or critical in what is shown now."""
        if not self.browser.execute_script("return typeof axe === 'object'"):
            source = Path(AXE.origin).with_name("axe.min.js").read_text(encoding="utf-8")
            self.browser.execute_script(source + "\nwindow.axe = axe;")
        found = self.browser.execute_async_script(RUN)
        return [fault for fault in found if fault[1] in ("serious", "critical")]


def test_axe_sees_a_fault_where_there_is_one(browser, site):
    page = Judged(browser, site).open()
    assert page.faults() == []
    browser.execute_script("""document.querySelector("#choose").textContent = "";
        document.querySelector("#home img").removeAttribute("alt");
        document.querySelector("#message").style.color = "#777";""")
    assert {fault[0] for fault in page.faults()} == {"button-name", "image-alt", "color-contrast"}


def search(page, name):
    page.open({"images": [{"id": name}], "likes": [name]})
    page.wait(page.ids)
    page.click("#options summary")


def no_match(page, name):
    page.open({"where": "label = 'no such'"}, tab="search")
    page.wait(lambda: "Nothing matches" in page.one("#results").text)


def viewer(page, name):
    page.open({"images": [{"id": name}]})
    page.wait(page.ids)
    page.all(".tile > button")[1].click()
    page.wait(lambda: page.all("#viewer .stage img") and "pixels" in page.one("#viewer dl").text)
    page.click("#viewer button", "Why?")
    page.wait(lambda: len(page.all("#viewer .pair img")) == 2, 180)


def sketch(page, name):
    page.open()
    page.click("#draw")
    page.wait(lambda: page.all("#sketch canvas"))


def selection(page, name):
    page.open()
    page.browser.execute_script("document.querySelectorAll('.tile .acts [data-act=pick]')[1].click()")
    page.wait(lambda: page.one("#selection").is_displayed())


def whole_map(page, name):
    page.open(tab="map")
    page.wait(lambda: "in sight" in page.one("#view-map").text)
    page.click("#view-map .legend button")
    page.wait(lambda: int(page.one(".map").get_attribute("data-pictures") or 0))


def denoise(page, name):
    page.open({"images": [{"id": name}]}, tab="denoise")
    page.wait(lambda: len(page.all("#view-denoise figure")) == 2, 180)


def scores(page, name):
    page.open(tab="scores")
    page.wait(lambda: page.all("#view-scores tbody tr"))


def files(page, name):
    page.open(tab="files")
    page.wait(lambda: "broken.jpg" in page.one("#view-files").text)


@pytest.mark.parametrize(
    "show",
    [search, no_match, viewer, sketch, selection, whole_map, denoise, scores, files],
    ids=lambda show: show.__name__,
)
def test_axe_finds_no_serious_fault(browser, site, show):
    page = Judged(browser, site)
    show(page, site.get("/api/images?limit=1")["images"][0]["id"])
    assert page.faults() == []


def test_letters_in_drawings_stand_out(browser, site):
    page = Judged(browser, site)
    scores(page, None)
    letters, faint = browser.execute_script(LETTERS)
    assert letters > 5
    assert faint == []


@pytest.mark.parametrize(("tab", "told"), [("map", "No map yet"), ("denoise", "No picture yet"), ("scores", "Nothing has"), ("files", "No file")])  # fmt: skip
def test_axe_finds_no_serious_fault_where_there_is_nothing(browser, site, tab, told):
    page = Judged(browser, site.bare).open(tab=tab)
    page.wait(lambda: told in page.one(f"#view-{tab}").text)
    assert page.faults() == []
