"""The page in a real browser: each thing a person does, and what they see. Screenshots go to LOOKALIKE_SHOTS, if set."""

from __future__ import annotations

import time

import pytest

import lookalike
from lookalike import build_index
from lookalike.imaging.encode import to_png

pytest.importorskip("uvicorn", reason="the extra serve isn't installed")
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium isn't installed")

from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

from chromium import Page, needs_chromium, opened  # noqa: E402
from served import Site  # noqa: E402

pytestmark = needs_chromium
COUNT = 300


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    photos = tmp_path_factory.mktemp("page") / "photos"
    images = lookalike.open_collection(f"mnist:test[0:{COUNT}]")
    for i, image in enumerate(images.array()):
        place = photos / f"digit {images.labels[i]}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:03}.png").write_bytes(to_png(image.repeat(3, 0).repeat(3, 1)))
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    build_index(photos, "pixels", photos / ".lookalike")
    build_index(photos, "hog", photos / ".lookalike", adapt=True)
    made = Site(photos / ".lookalike")
    made.photos = photos
    yield made
    made.stop()


@pytest.fixture
def page(browser, site):
    made = Page(browser, site)
    yield made
    # Whatever was done, nothing may have been blocked, missing or thrown.
    bad = [
        entry
        for entry in browser.get_log("browser")
        if entry["level"] == "SEVERE" and "favicon" not in entry["message"]
    ]
    expected = getattr(made, "expected", None)
    assert [entry for entry in bad if not expected or expected not in entry["message"]] == []


def test_noise_is_shown_with_and_without(page, site):
    page.open({"images": [{"id": page.site.get("/api/images?limit=1")["images"][0]["id"]}]}, "denoise")
    page.wait(lambda: len(page.all("#view-denoise figure")) == 2, 60)
    assert len(page.all("#view-denoise figure .row img")) == 20
    page.wait(lambda: all(e.get_property("naturalWidth") for e in page.all("#view-denoise img")))
    assert "Denoised by" in page.one("#view-denoise p").text
    page.shot("denoise")


def test_the_options_say_why_an_encoder_was_chosen(page):
    page.open()
    page.click("#options summary")
    page.wait(lambda: "No label was read." in page.one("#verdict").text)
    page.shot("verdict")
    page.browser.execute_script(
        "const s = document.querySelector('#encoder'); s.value = 'pixels'; s.dispatchEvent(new Event('change'))"
    )
    page.wait(lambda: not page.one("#verdict").is_displayed())  # nobody chose that one


def test_scores_tell_what_to_type_and_then_are_shown(page, site):
    from lookalike.cli.main import run

    page.open(tab="scores")
    page.wait(lambda: "Nothing has been scored yet" in page.one("#view-scores").text)
    command = page.one("#view-scores code").text.replace("INDEX", str(site.photos / ".lookalike")).split()
    page.shot("scores-none")
    assert command[0] == "lookalike"
    assert run(command[1:]) == 0
    assert run([*command[1:], "-e", "pixels"]) == 0
    page.open(tab="scores")
    page.wait(lambda: len(page.all("#view-scores tbody tr")) == 2)
    assert len(page.all("#view-scores polyline")) == 2
    assert "mAP" in page.one("#view-scores thead").text
    page.shot("scores")


def test_it_opens_on_the_collection(page):
    page.open()
    page.wait(lambda: "300 images" in page.one("#message").text)
    assert len(page.all(".tile")) > 10
    page.wait(lambda: "1 file left out" in page.one("#state").text)
    page.shot("start")


def test_a_click_opens_an_image_and_searches_by_it(page):
    page.open()
    name = page.names()[4].split(", ")[0]
    page.all(".tile > button")[4].click()
    page.wait(lambda: page.one("#viewer h2").text == name)
    page.wait(lambda: "84 x 84 pixels" in page.one("#viewer dl").text)
    page.shot("viewer")
    page.click("#viewer button", "Search by it")
    page.wait(page.ids)
    assert page.query() == {"images": [{"id": name}]}
    assert name not in page.ids()  # it stands beside the answers
    assert page.one("#pinned figcaption").text == name.split("/")[-1]
    page.shot("results")


def test_the_address_holds_the_query_and_back_goes_back(page):
    page.open()
    page.all(".tile > button")[2].click()
    page.wait(lambda: page.all("#viewer button"))
    page.click("#viewer button", "Search by it")
    page.wait(page.ids)
    before = page.ids()[:8]
    page.browser.refresh()
    page.wait(lambda: page.ids()[:8] == before)
    page.browser.back()
    page.wait(lambda: "300 images" in page.one("#message").text)
    page.browser.forward()
    page.wait(lambda: page.ids()[:8] == before)


def test_a_file_is_sent_and_its_likes_are_found(page, site):
    page.open()
    file = next((site.photos / "digit 7").iterdir())
    page.one("#file").send_keys(str(file))
    page.wait(lambda: page.ids()[:1] == [f"digit 7/{file.name}"])
    assert set(page.query()["images"][0]) == {"upload"}
    assert file.name in page.one("#chips").text
    page.shot("upload")


def test_a_pasted_and_a_dropped_image_are_taken(page):
    script = """
      const [kind, done] = arguments;
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = 84;
      const paper = canvas.getContext("2d");
      paper.fillRect(0, 0, 84, 84);
      paper.fillStyle = "#fff";
      paper.fillRect(38, 10, 10, 64);
      canvas.toBlob((blob) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([blob], "a.png", { type: "image/png" }));
        const event = kind === "paste"
          ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true })
          : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event);
        done();
      });"""
    for kind in ("paste", "drop"):
        page.open()
        page.browser.execute_async_script(script, kind)
        page.wait(lambda: page.ids() and page.ids()[0].startswith("digit 1/"))


def test_a_file_is_one_question_and_its_pictures_are_kept_for_good(page, site):
    page.open()
    page.browser.execute_script("performance.clearResourceTimings()")
    page.one("#file").send_keys(str(next((site.photos / "digit 7").iterdir())))
    page.wait(page.ids)
    assert page.wait(lambda: page.one("#chips img").get_property("naturalWidth")) == 84
    asked = page.browser.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    asked = [name.removeprefix(f"{site.url}/api/").partition("?")[0] for name in asked if "/api/" in name]
    assert [name for name in asked if name != "thumbnail"] == ["search/upload"]
    sources = page.browser.execute_script("return [...document.querySelectorAll('.tile img')].map((e) => e.currentSrc)")
    assert sources[0]
    assert all("&v=" in source for source in sources if source)
    kept = page.browser.execute_async_script(
        "fetch(arguments[0]).then((r) => arguments[1](r.headers.get('cache-control')))", sources[0]
    )
    assert "immutable" in kept
    # The address stays good after the page forgets what it sent.
    ids = page.ids()[:5]
    page.browser.refresh()
    page.wait(lambda: page.ids()[:5] == ids)
    assert page.wait(lambda: page.one("#chips img").get_property("naturalWidth"))


def test_a_sketch_is_searched_by(page):
    page.open()
    page.click("#draw")
    page.wait(lambda: page.all("#sketch canvas"))
    dark = page.one("#dark")
    if not dark.is_selected():
        page.click("#dark")
    paper = page.one("#sketch canvas")
    drawing = ActionChains(page.browser).move_to_element_with_offset(paper, 0, -90).click_and_hold()
    drawing.move_by_offset(0, 90).move_by_offset(0, 90).release().perform()
    page.shot("sketch")
    page.click("#sketch-done")
    page.wait(lambda: page.ids() and page.ids()[0].startswith("digit 1/"))


def test_a_crop_is_drawn_on_an_image(page):
    page.open()
    page.all(".tile > button")[0].click()
    picture = page.wait(lambda: page.all(".stage img") and page.one(".stage img"))
    page.wait(lambda: page.browser.execute_script("return arguments[0].naturalWidth", picture) == 84)
    time.sleep(0.2)
    side = picture.size["height"]
    drawing = ActionChains(page.browser).move_to_element_with_offset(picture, -side // 4, -side // 4).click_and_hold()
    drawing.move_by_offset(side // 4, side // 4).move_by_offset(side // 4, side // 4).release().perform()
    page.click("#viewer .part button", "Search by this part")
    page.wait(lambda: "crop" in page.query().get("images", [{}])[0])
    x, y, width, height = page.query()["images"][0]["crop"]
    assert all(abs(got - wanted) <= 3 for got, wanted in ((x, 21), (y, 21), (width, 42), (height, 42)))
    page.wait(page.ids)


def test_likes_and_dislikes_steer(page):
    page.open()
    page.browser.execute_script("document.querySelectorAll('.tile .acts [data-act=like]')[0].click()")
    page.wait(page.ids)
    worst = page.ids()[3]
    page.browser.execute_script("document.querySelectorAll('.tile .acts [data-act=dislike]')[3].click()")
    page.wait(lambda: page.query().get("dislikes") == [worst] and worst not in page.ids())
    chips = page.one("#chips").text
    assert "like " in chips
    assert "not like " in chips
    page.shot("steered")
    page.click("#chips button", f"Remove not like {worst}")
    page.wait(lambda: "dislikes" not in page.query())


def test_words_and_filters_are_told_apart_and_removed(page):
    page.open()
    page.one("#words").send_keys("= label = 'digit 3'", Keys.ENTER)
    page.wait(lambda: page.query() == {"where": "label = 'digit 3'"})
    page.wait(lambda: page.names() and all("digit 3/" in name for name in page.names()))
    page.shot("filter")
    page.click("#chips button", "Remove where label = 'digit 3'")
    page.wait(lambda: "300 images" in page.one("#message").text)
    page.one("#words").clear()
    page.one("#words").send_keys("digit 5", Keys.ENTER)
    page.wait(lambda: page.names() and "digit 5/" in page.names()[0])
    assert page.query() == {"words": "digit 5"}


def test_a_wrong_filter_and_no_match_are_told(page):
    page.expected = "400"
    page.open()
    page.one("#words").send_keys("= label =", Keys.ENTER)
    page.wait(lambda: "That filter can't be read" in page.one("#results").text)
    page.shot("wrong")
    page.open({"where": "label = 'no such'"}, tab="search")
    page.wait(lambda: "Nothing matches" in page.one("#results").text)


def test_a_file_that_is_no_image_is_told(page, tmp_path):
    page.expected = "415"
    page.open()
    (tmp_path / "a.png").write_bytes(b"no image at all")
    page.one("#file").send_keys(str(tmp_path / "a.png"))
    page.wait(lambda: "not an image" in page.one("#toast").text)
    assert page.query() == {}


def test_it_scrolls_through_all_and_keeps_few_in_the_document(page):
    page.open()
    last = 0
    for _ in range(40):
        page.browser.execute_script("scrollTo(0, document.body.scrollHeight)")
        time.sleep(0.1)
        height = page.browser.execute_script("return document.body.scrollHeight")
        if height == last and page.all(f'.tile[data-at="{COUNT - 1}"]'):
            break
        last = height
    assert page.all(f'.tile[data-at="{COUNT - 1}"]')
    assert len(page.all(".tile")) < COUNT


def first_tile(page):
    """Return the first tile, once the grid isn't drawn anew or moved any more, as it is while the page is still loading."""
    script = """
        const tile = document.querySelector(".tile > button"), now = tile && JSON.stringify(tile.getBoundingClientRect());
        const same = tile && tile === window.firstTile && now === window.firstPlace;
        [window.firstTile, window.firstPlace] = [tile, now];
        return same ? tile : null;
    """

    def settled():
        time.sleep(0.3)
        return page.browser.execute_script(script)

    return page.wait(settled)


def test_keys_move_like_and_select(page):
    page.open()
    first_tile(page).send_keys(Keys.ARROW_RIGHT)
    page.browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    tile = page.browser.execute_script("return document.activeElement.closest('.tile').dataset.at")
    assert int(tile) > 1
    page.browser.switch_to.active_element.send_keys("s")
    page.wait(lambda: page.one("#selected").text == "1 selected")
    page.browser.switch_to.active_element.send_keys("s")
    page.wait(lambda: not page.one("#selection").is_displayed())
    page.browser.switch_to.active_element.send_keys("l")
    page.wait(lambda: len(page.query().get("likes", [])) == 1)


def test_the_viewer_steps_by_keys_and_closes(page):
    page.open()
    first_tile(page).click()
    title = page.wait(lambda: page.one("#viewer h2").text)
    ActionChains(page.browser).send_keys(Keys.ARROW_RIGHT).perform()
    page.wait(lambda: page.one("#viewer h2").text not in ("", title))
    ActionChains(page.browser).send_keys(Keys.ESCAPE).perform()
    page.wait(lambda: not page.one("#viewer").is_displayed())


def test_two_orderings_stand_side_by_side(page):
    page.open()
    page.browser.execute_script("document.querySelectorAll('.tile .acts [data-act=like]')[5].click()")
    page.wait(page.ids)
    page.click("#options summary")
    page.browser.execute_script(
        "const s = document.getElementById('versus'); s.value = 'encoder:pixels'; s.dispatchEvent(new Event('change'))"
    )
    page.wait(
        lambda: (
            len([c for c in page.all(".column") if c.is_displayed() and c.find_elements(By.CSS_SELECTOR, ".tile")]) == 2
        )
    )
    titles = [e.text for e in page.all(".column > h2")]
    assert titles[0].startswith("hog")
    assert titles[1].startswith("pixels")
    page.shot("side by side")


def test_files_that_were_left_out_are_listed_with_the_reason(page):
    page.open(tab="files")
    page.wait(lambda: "broken.jpg" in page.one("#view-files").text)
    assert "decode" in page.one("#view-files table").text
    page.shot("files")


def test_nothing_comes_from_elsewhere_and_the_page_is_small(page):
    page.open()
    entries = page.browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => [e.name, e.transferSize, e.initiatorType])"
    )
    assert all(name.startswith(page.site.url) for name, _, _ in entries)
    assert sum(size for name, size, _ in entries if not name.startswith(f"{page.site.url}/api/")) < 200_000


def test_nothing_jumps(page):
    page.open()
    shift = page.browser.execute_async_script(
        """const done = arguments[0]; let sum = 0;
        new PerformanceObserver((list) => { for (const e of list.getEntries()) if (!e.hadRecentInput) sum += e.value; })
          .observe({ type: "layout-shift", buffered: true });
        setTimeout(() => done(sum), 800);"""
    )
    assert shift < 0.1


@pytest.mark.parametrize(("name", "options"), [
    ("dark", {"dark": True}), ("phone", {"width": 390, "height": 800, "mobile": True}),
    ("phone dark", {"width": 390, "height": 800, "mobile": True, "dark": True}), ("wide", {"width": 1900, "height": 1000}),
])  # fmt: skip
def test_it_fits_every_screen(site, name, options):
    browser = opened(**options)
    try:
        page = Page(browser, site).open()
        wide = browser.execute_script("return document.documentElement.scrollWidth <= innerWidth + 1")
        page.shot(name)
        page.browser.execute_script("document.querySelectorAll('.tile > button')[1].click()")
        page.wait(lambda: page.all(".stage img"))
        time.sleep(0.3)
        page.shot(f"{name} viewer")
        assert wide
        ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(int(v) for v in ground[4:-1].split(",")) < 200) == bool(options.get("dark"))
    finally:
        browser.quit()
