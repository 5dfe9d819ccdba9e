"""The map in a real browser: with WebGL, and without. Screenshots go to LOOKALIKE_SHOTS, if set."""

from __future__ import annotations

import pytest

from lookalike import build_index, open_index
from lookalike.index.map import make_map

pytest.importorskip("uvicorn", reason="the extra serve isn't installed")
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium isn't installed")

from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

from chromium import Page, needs_chromium, opened  # noqa: E402
from served import Site  # noqa: E402

pytestmark = needs_chromium

COUNT = 1_600


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    path = tmp_path_factory.mktemp("map") / "digits.lookalike"
    build_index(f"mnist:test[0:{COUNT}]", "hog", path)
    build_index(f"mnist:test[0:{COUNT}]", "pixels", path)  # the default; it has no map
    make_map(open_index(path, encoder="hog"))
    made = Site(path)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser():
    made = opened(1200, 800)
    yield made
    made.quit()


class MapPage(Page):
    def map(self, encoder="hog", draw=""):
        self.open({"encoder": encoder}, tab="map" + (f"&draw={draw}" if draw else ""))
        self.wait(lambda: "in sight" in self.one("#view-map").text)
        return self

    @property
    def renderer(self):
        return self.one(".map").get_attribute("data-renderer")

    @property
    def sight(self):
        return int(self.one("#view-map .message").text.split()[0].replace(",", ""))

    def inked(self):
        """Return how many pixels of the dots' canvas are drawn on, just after it was drawn."""
        script = """const done = arguments[0], source = document.querySelector('.map canvas');
          window.dispatchEvent(new Event('resize'));
          document.querySelector('.map .over').dispatchEvent(new KeyboardEvent('keydown', { key: '0' }));
          requestAnimationFrame(() => {
            const copy = document.createElement('canvas');
            copy.width = source.width; copy.height = source.height;
            const pen = copy.getContext('2d');
            pen.drawImage(source, 0, 0);
            const data = pen.getImageData(0, 0, copy.width, copy.height).data;
            let sum = 0;
            for (let i = 3; i < data.length; i += 4) sum += data[i] > 100;
            done(sum);
          });"""
        return self.browser.execute_async_script(script)

    def pictures(self):
        return int(self.one(".map").get_attribute("data-pictures") or 0)

    def close_by(self):
        """Zoom to the middle of the densest hill until there are pictures."""
        self.click("#view-map .legend button")
        self.wait(lambda: 0 < self.sight < COUNT)
        self.wait(lambda: 0 < self.pictures() <= 150)


@pytest.fixture
def page(site, browser):
    made = MapPage(browser, site)
    yield made
    bad = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    expected = getattr(made, "expected", None)
    assert [entry for entry in bad if not expected or expected not in entry["message"]] == []


def test_the_whole_collection_is_dots_coloured_by_label(page):
    page.map()
    page.wait(lambda: page.sight == COUNT)
    assert page.inked() > 2 * COUNT
    assert [e.text.split()[0] for e in page.all(".legend button")] == list("0123456789")
    assert page.pictures() == 0
    page.shot("map")


def test_density_clusters_can_be_the_colours(page):
    page.map()
    page.browser.execute_script(
        "const s = document.querySelector('#view-map select'); s.value = 'clusters'; s.dispatchEvent(new Event('change'))"
    )
    page.wait(lambda: page.one(".legend button").text.startswith("Cluster 1"))
    assert sum(int(e.text.replace(",", "")) for e in page.all(".legend small")) == COUNT
    page.shot("map by hill")


def test_keys_zoom_and_move_and_near_there_are_pictures(page):
    page.map()
    canvas = page.one(".map .over")
    canvas.send_keys("+++")
    page.wait(lambda: page.sight < COUNT)
    before = page.sight
    canvas.send_keys(Keys.ARROW_RIGHT * 3)
    page.wait(lambda: page.sight != before)
    canvas.send_keys("0")
    page.wait(lambda: page.sight == COUNT)
    page.close_by()
    page.wait(
        lambda: (
            page.browser.execute_script(
                "return performance.getEntriesByType('resource').filter(e => e.name.includes('api/thumbnail')).length"
            )
            >= page.pictures()
        )
    )
    page.shot("map near")


def test_the_wheel_zooms_at_the_pointer_and_a_drag_moves(page):
    page.map()
    canvas = page.one(".map .over")
    ActionChains(page.browser).scroll_from_origin(
        webdriver.common.actions.wheel_input.ScrollOrigin.from_element(canvas, 50, 20), 0, -900
    ).perform()
    page.wait(lambda: page.sight < COUNT)
    before = page.sight
    ActionChains(page.browser).move_to_element(canvas).click_and_hold().move_by_offset(160, 90).release().perform()
    page.wait(lambda: page.sight != before)


def test_a_click_opens_the_image_with_its_neighbours_after_it(page):
    page.map()
    page.close_by()
    page.one(".map .over").send_keys(Keys.ENTER)
    title = page.wait(lambda: page.one("#viewer").is_displayed() and page.one("#viewer h2").text)
    ActionChains(page.browser).send_keys(Keys.ARROW_RIGHT).perform()
    page.wait(lambda: page.one("#viewer h2").text not in ("", title))
    ActionChains(page.browser).send_keys(Keys.ESCAPE).perform()
    page.wait(lambda: not page.one("#viewer").is_displayed())
    # The same by the mouse, on the picture in the middle of the hill.
    box = page.one(".map .over").size
    for step in range(0, 200, 20):
        ActionChains(page.browser).move_to_element_with_offset(
            page.one(".map .over"), min(step, box["width"] // 3), 0
        ).click().perform()
        if page.one("#viewer").is_displayed():
            break
    assert page.one("#viewer h2").text


def lasso(page, share=0.4):
    canvas = page.one(".map .over")
    x, y = (int(side * share) for side in (canvas.size["width"], canvas.size["height"]))
    drawing = ActionChains(page.browser, duration=20).move_to_element_with_offset(canvas, -x, -y).click_and_hold()
    for dx, dy in ((x, 0), (x, 0), (0, y), (0, y), (-x, 0), (-x, 0), (0, -y)):
        drawing.move_by_offset(dx, dy)
    drawing.release().perform()


def test_a_line_round_images_selects_them_to_be_liked(page):
    page.map()
    page.close_by()
    page.click("#view-map button", "Draw a line round images to select them (or hold Shift and drag)")
    lasso(page)
    page.wait(lambda: page.one("#selection").is_displayed())
    chosen = int(page.one("#selected").text.split()[0].replace(",", ""))
    assert 30 < chosen < page.sight
    page.shot("map selection")
    page.click("#like-selection")
    page.wait(lambda: len(page.query().get("likes", [])) == 30)
    page.wait(page.ids)
    page.browser.execute_script("document.getElementById('clear-selection').click()")


def test_without_a_map_it_says_how_to_make_one(page):
    page.expected = "404"
    page.open(tab="map")
    page.wait(lambda: "No map yet" in page.one("#view-map").text)
    assert "lookalike map -i " in page.one("#view-map").text
    page.shot("map none")


def test_the_part_is_loaded_only_when_looked_at(page):
    page.open()
    names = page.browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    later = ("map.js", "points.js", "twgl.js")
    assert not [name for name in names if name.endswith(later)]
    page.map()
    names = page.browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [sum(name.endswith(f"/{one}") for name in names) for one in later] == [1, 1, 1]


#: Returns what this browser's WebGL says that it draws by, and what the page makes of it and of other names.
SOFTWARE = """const [names, done] = arguments;
  import("./points.js").then(({ isSoftware }) => {
    const gl = document.createElement("canvas").getContext("webgl2");
    const named = gl.getExtension("WEBGL_debug_renderer_info");
    const saying = (name) => ({ RENDERER: 7937, getExtension: () => null, getParameter: (key) => (key === 7937 ? name : null) });
    done([gl.getParameter(named.UNMASKED_RENDERER_WEBGL), isSoftware(gl), names.map((name) => isSoftware(saying(name)))]);
  }, (error) => done([String(error)]));"""


def test_a_graphics_card_is_told_from_software(page):
    page.open()
    software = [
        "llvmpipe (LLVM 15.0.6, 256 bits)", "ANGLE (Microsoft, Microsoft Basic Render Driver Direct3D11 vs_5_0 ps_5_0)",
        "Apple Software Renderer", "softpipe",
    ]  # fmt: skip
    cards = [
        "ANGLE (NVIDIA, NVIDIA GeForce RTX 3060 Direct3D11 vs_5_0 ps_5_0)", "Mesa Intel(R) UHD Graphics 620 (KBL GT2)",
        "Apple M2", "Adreno (TM) 640", "AMD Radeon RX 6700 (radeonsi, navi22, LLVM 15.0.7)",
    ]  # fmt: skip
    here, told, others = page.browser.execute_async_script(SOFTWARE, software + cards)
    assert others == [True] * len(software) + [False] * len(cards)
    assert told == ("SwiftShader" in here or "llvmpipe" in here)
    page.map()
    assert page.renderer == ("2d" if told else "webgl2")


def test_webgl_and_plain_pixels_draw_the_same_map(page):
    page.map(draw="2d")
    page.wait(lambda: page.sight == COUNT)
    assert page.renderer == "2d"
    plain = page.inked()
    page.browser.get("about:blank")
    page.map(draw="webgl2")
    page.wait(lambda: page.sight == COUNT)
    assert page.renderer == "webgl2"
    assert plain * 0.5 < page.inked() < plain * 2
    page.shot("map webgl")
    page.click("#view-map .legend button")  # one group alone: the others' colours are sent anew
    page.wait(lambda: 0 < page.sight < COUNT)
    page.shot("map webgl one group")


def test_a_lost_graphics_card_leaves_the_map_standing(page):
    page.map(draw="webgl2")
    page.wait(lambda: page.sight == COUNT)
    page.browser.execute_script(
        "document.querySelector('.map canvas').getContext('webgl2').getExtension('WEBGL_lose_context').loseContext()"
    )
    page.wait(lambda: page.renderer == "2d")
    assert page.inked() > 2 * COUNT


@pytest.mark.parametrize(("name", "options"), [
    ("map without webgl", {"flags": ["--disable-3d-apis"]}),
    ("map dark", {"dark": True}),
    ("map phone", {"width": 390, "height": 800, "mobile": True}),
    ("map wide", {"width": 1900, "height": 1000}),
])  # fmt: skip
def test_it_falls_back_and_fits(site, name, options):
    browser = opened(**options)
    try:
        page = MapPage(browser, site).map(draw="webgl2")
        page.wait(lambda: page.sight == COUNT)
        assert page.renderer == ("2d" if "flags" in options else "webgl2")
        assert page.inked() > 2 * COUNT
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth + 1")
        page.shot(name)
        page.close_by()
        page.browser.find_element(By.CSS_SELECTOR, ".map .over").send_keys("++")
        page.wait(lambda: page.sight < COUNT)
        page.shot(f"{name} near")
        assert not [e for e in browser.get_log("browser") if e["level"] == "SEVERE"]
    finally:
        browser.quit()
