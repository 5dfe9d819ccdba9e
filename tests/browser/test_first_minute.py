"""The page as people meet it who have read nothing: each fault that somebody stumbled over, by what they did."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from lookalike import build_index
from lookalike.imaging.encode import to_png
from lookalike.index.map import make_map

pytest.importorskip("uvicorn", reason="the extra serve isn't installed")
pytest.importorskip("selenium.webdriver", reason="selenium isn't installed")

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from chromium import Page, needs_chromium, opened
from served import Site

pytestmark = needs_chromium
TALL, WIDE = "beaches/tall.png", "beaches/wide.png"
#: Dispatches a drop of what a script has put into a DataTransfer named `transfer`.
DROP = """const transfer = new DataTransfer(); {}
    document.body.dispatchEvent(new DragEvent("drop", {{ dataTransfer: transfer, bubbles: true, cancelable: true }}));"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A server of 130 coloured pictures in two folders: one tall, one wide, one twice, each with a caption."""
    rng = np.random.default_rng(0)
    photos = tmp_path_factory.mktemp("minute") / "photos"
    for folder in ("beaches", "towns"):
        (photos / folder).mkdir(parents=True)
        for i in range(64):
            blocks = rng.integers(0, 256, (6, 8, 3), np.uint8).repeat(50, 0).repeat(50, 1)
            (photos / folder / f"{i + 1}.png").write_bytes(to_png(blocks))
    (photos / TALL).write_bytes(to_png(rng.integers(0, 256, (15, 3, 3), np.uint8).repeat(100, 0).repeat(100, 1)))
    (photos / WIDE).write_bytes(to_png(rng.integers(0, 256, (3, 15, 3), np.uint8).repeat(100, 0).repeat(100, 1)))
    twin = np.array(np.frombuffer((photos / "towns/5.png").read_bytes(), np.uint8)).tobytes()
    (photos / "towns/twin.png").write_bytes(twin + b"\0")  # other bytes, the same picture
    (photos / "towns/7.txt").write_text("A portrait by Picasso <b>in blue</b>")
    make_map(build_index(photos, "color", photos / ".lookalike"))
    made = Site(photos / ".lookalike")
    made.photos = photos
    yield made
    made.stop()


@pytest.fixture
def page(browser, site):
    made = Page(browser, site).open()
    browser.execute_script("localStorage.clear(); sessionStorage.clear(); history.replaceState(null, '')")
    made.open()  # from the top, as no place to return to is kept
    yield made
    browser.get_log("browser")


def press(page, *keys):
    ActionChains(page.browser).send_keys(*keys).perform()


def script(page, text, *given):
    return page.browser.execute_script(text, *given)


def open_tile(page, identity):
    """Open an image's viewer, wherever in the collection it is."""
    page.open({"words": identity.split("/")[-1].split(".")[0]})
    page.wait(lambda: page.all(f'.tile[data-id="{identity}"]'))
    page.click(f'.tile[data-id="{identity}"] > button')
    page.wait(lambda: "pixels" in page.one("#viewer dl").text)


def overflow(page):
    """Return how far the picture reaches beyond its place, in pixels."""
    return script(
        page,
        """const p = document.querySelector(".stage img").getBoundingClientRect(),
        s = document.querySelector(".stage").getBoundingClientRect();
        return Math.max(s.left - p.left, p.right - s.right, s.top - p.top, p.bottom - s.bottom)""",
    )


# Broken -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", [TALL, WIDE])
def test_the_viewer_shows_all_of_a_tall_and_a_wide_picture(page, identity):
    open_tile(page, identity)
    assert overflow(page) <= 1


def test_thumbnails_are_sharp_and_come_in_two_sizes(page):
    assert page.wait(lambda: script(page, "return document.querySelector('.tile img').srcset.split(',').length")) == 2
    _, headers, body = page.site.ask("GET", "/api/thumbnail?id=towns/7.png")
    assert headers["content-type"] == "image/webp"
    assert len(page.site.ask("GET", "/api/thumbnail?id=towns/7.png&side=192")[2]) < len(body)


def test_the_viewer_zooms_by_keys_and_wheel_and_goes_back_to_the_whole(page):
    open_tile(page, TALL)
    press(page, "1")
    page.wait(lambda: overflow(page) > 100)
    press(page, "0")
    page.wait(lambda: overflow(page) <= 1)
    script(
        page,
        "document.querySelector('.stage').dispatchEvent(new WheelEvent('wheel', { deltaY: -900, clientX: 300, clientY: 300, cancelable: true }))",
    )
    page.wait(lambda: overflow(page) > 100)


def test_a_selected_tile_looks_so(page):
    page.click(".tile .acts [data-act=pick]")
    look = script(
        page,
        """const tile = document.querySelector(".tile.picked");
        return [getComputedStyle(tile, "::after").content, getComputedStyle(tile.querySelector("img")).transform]""",
    )
    assert "\u2713" in look[0]
    assert look[1] != "none"


@pytest.mark.parametrize("words", ["a woman in blue", "pictures in blue", "like Miro", "size < big"])
def test_words_are_never_a_filter(page, words):
    page.one("#words").send_keys(words, Keys.ENTER)
    page.wait(lambda: page.query() == {"words": words})
    page.wait(lambda: "Nothing matches" in page.one("#results").text or page.ids())
    assert "filter" not in page.one("#results").text
    assert not page.one("#toast").is_displayed()


def test_what_is_told_stands_over_the_viewer(page):
    open_tile(page, WIDE)
    page.click("#viewer button", "Copy path")
    page.wait(lambda: page.one("#toast").is_displayed())
    seen = script(
        page,
        """const box = document.querySelector("#toast").getBoundingClientRect();
        return document.elementFromPoint(box.left + 5, box.top + 5).id""",
    )
    assert seen == "toast"


def test_denoise_leaves_the_viewer(page):
    open_tile(page, WIDE)
    page.click("#viewer button", "Denoise")
    page.wait(lambda: page.one("#view-denoise").is_displayed() and not page.one("#viewer").is_displayed())


def test_back_closes_the_viewer_and_nothing_else(page):
    page.one("#words").send_keys("towns", Keys.ENTER)
    page.wait(lambda: page.query() == {"words": "towns"} and page.ids())
    page.all(".tile > button")[0].click()
    page.wait(lambda: page.one("#viewer").is_displayed())
    page.browser.back()
    page.wait(lambda: not page.one("#viewer").is_displayed())
    assert page.query() == {"words": "towns"}


def test_on_a_phone_nothing_covers_the_pictures_and_a_resting_finger_selects(site):
    browser = opened(width=390, height=844, mobile=True, flags=("--touch-events=enabled",))
    try:
        browser.execute_cdp_cmd("Emulation.setEmitTouchEventsForMouse", {"enabled": True, "configuration": "mobile"})
        page = Page(browser, site).open()
        assert script(page, "return getComputedStyle(document.querySelector('.tile .acts')).display") == "none"
        assert script(page, "return document.querySelector('#top').getBoundingClientRect().height") < 844 / 5
        box = page.all(".tile > button")[0].rect
        point = [{"x": int(box["x"] + 20), "y": int(box["y"] + 20)}]
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": point})
        page.wait(lambda: page.one("#selected").text == "1 selected")
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    finally:
        browser.quit()


def test_on_a_phone_the_explanation_is_where_the_picture_was(site):
    browser = opened(width=390, height=844, mobile=True)
    try:
        page = Page(browser, site)
        page.open({"images": [{"id": WIDE}]})
        page.wait(page.ids)
        page.click(".tile > button")
        page.wait(lambda: page.all("#viewer .stage img"))
        page.click("#viewer button", "Why?")
        page.wait(lambda: len(page.all("#viewer .pair img")) == 2, 60)
        assert page.one("#viewer .pair").rect["y"] < 120
    finally:
        browser.quit()


def test_the_maps_legend_keeps_each_name_on_a_line(page):
    page.open(tab="map")
    page.wait(lambda: page.all(".legend button"))
    assert all(button.size["height"] < 50 for button in page.all(".legend button"))


# Misleading --------------------------------------------------------------------------------------------------------------


def test_captions_are_not_left_out(page):
    page.wait(lambda: page.one("#state").text == "131 images")
    assert page.one("#tab-files").text == "Files"


def test_duplicates_are_counted_and_none_is_said_plainly(page):
    open_tile(page, "towns/twin.png")
    page.click("#viewer button", "Find duplicates")
    page.wait(lambda: page.ids() == ["towns/5.png"])
    assert page.one("#message").text == "1 duplicate of this picture."
    open_tile(page, TALL)
    page.click("#viewer button", "Find duplicates")
    page.wait(lambda: "No duplicates" in page.one("#results").text)
    assert "can't be told" not in page.one("#view-search").text


def test_answers_are_in_words_with_numbers_behind_why(page):
    page.open({"images": [{"id": "towns/5.png"}]})
    page.wait(page.ids)
    assert page.ids()[0] == "towns/twin.png"  # and not the picture itself
    assert page.all(".likeness")[0].text == "The same picture, or nearly"
    assert page.all(".likeness")[-1].text == "Nothing closer: the rest only fills up"
    shown = page.one("#view-search").text
    assert "%" not in shown
    page.click("#numbers summary")
    page.wait(lambda: "random pairs" in page.one("#numbers-text").text)
    colour = script(page, "return getComputedStyle(document.querySelector('#message')).color")
    assert colour == script(page, "return getComputedStyle(document.querySelector('#state')).color")  # quiet, never red


def test_a_sketch_begins_on_the_collections_own_ground(page):
    page.click("#draw")
    time.sleep(0.5)
    assert not page.one("#dark").is_selected()  # these pictures aren't dark


def test_captions_stand_under_the_pictures(page):
    page.open({"words": "picasso"})
    page.wait(lambda: page.ids() == ["towns/7.png"])
    tile = page.one(".tile")
    assert tile.text.startswith("A portrait by Picasso <b>in blue</b>")
    assert (
        tile.find_element("tag name", "p").rect["y"]
        >= tile.find_element("tag name", "button").rect["y"]
        + tile.find_element("tag name", "button").rect["height"]
        - 1
    )
    assert page.names()[0].startswith("A portrait by Picasso")


def test_back_returns_to_the_place_and_closing_to_the_last_seen(page):
    for _ in range(2):
        script(page, "scrollTo(0, document.body.scrollHeight)")
        time.sleep(0.4)
    place = script(page, "return Math.round(scrollY)")
    assert place > 800
    tile = next(
        t for t in page.all(".tile") if 0 < script(page, "return arguments[0].getBoundingClientRect().top", t) < 500
    )
    seen = int(tile.get_attribute("data-at"))
    page.browser.execute_script("arguments[0].querySelector('button').click()", tile)
    page.wait(lambda: page.one("#viewer").is_displayed())
    first = page.one("#viewer h2").text
    press(page, Keys.ARROW_LEFT)
    page.wait(lambda: page.one("#viewer h2").text != first)
    press(page, Keys.ESCAPE)
    page.wait(lambda: script(page, "return document.activeElement.closest('.tile')?.dataset.at") == str(seen - 1))
    page.one("#words").send_keys("picasso", Keys.ENTER)
    page.wait(lambda: page.ids() == ["towns/7.png"])
    page.browser.back()
    page.wait(lambda: abs(script(page, "return scrollY") - place) < 60)


def test_the_viewer_goes_on_beyond_what_is_loaded_and_says_where_it_ends(page):
    page.click('.tile[data-at="0"] > button')
    page.wait(lambda: page.one("#viewer").is_displayed())
    press(page, Keys.ARROW_LEFT)
    page.wait(lambda: page.one("#toast").text == "This is the first.")
    press(page, *[Keys.ARROW_RIGHT] * 99)  # the last of the first page
    page.wait(lambda: page.one("#viewer h2").text == "towns/34.png", 20)
    press(page, Keys.ARROW_RIGHT)
    page.wait(lambda: page.one("#viewer h2").text == "towns/35.png")


def test_a_slip_of_the_hand_searches_nothing_and_keys_choose_a_part(page):
    open_tile(page, TALL)
    picture = page.one(".stage img")
    ActionChains(page.browser).move_to_element(picture).click_and_hold().move_by_offset(7, 7).release().perform()
    assert not page.all("#viewer .part button")
    page.click("#viewer button", "Search by a part")
    press(page, Keys.ARROW_DOWN, Keys.ENTER)
    page.wait(lambda: "crop" in page.query().get("images", [{}])[0])
    page.wait(lambda: page.one("#chips li").text.startswith("part of tall.png"))


def test_a_server_that_is_gone_is_told_and_found_again(browser, site):
    other = Site(site.photos / ".lookalike")
    page = Page(browser, other).open()
    port = other.port
    other.stop()
    page.one("#words").send_keys("towns", Keys.ENTER)
    page.wait(lambda: page.one("#lost").is_displayed())
    assert page.one("#state").text == "Not connected"
    again = Site(site.photos / ".lookalike", port=port)
    try:
        page.wait(lambda: not page.one("#lost").is_displayed(), 20)
        page.wait(lambda: page.ids() and all(name.startswith("towns/") for name in page.ids()))
    finally:
        again.stop()


def test_what_takes_long_is_told_and_can_be_stopped(page):
    script(
        page,
        """const real = fetch;
        window.fetch = (path, options) => String(path) !== "api/search" ? real(path, options)
          : new Promise((done, fail) => options.signal.addEventListener("abort", () => fail(options.signal.reason)));""",
    )
    page.one("#words").send_keys("towns", Keys.ENTER)
    page.wait(lambda: page.one("#wait").is_displayed())
    page.click("#stop")
    page.wait(lambda: page.one("#toast").text == "Stopped." and not page.one("#wait").is_displayed())


@pytest.mark.parametrize(
    ("dropped", "told"),
    [
        ('transfer.setData("text/uri-list", "https://example.invalid/a.jpg");', "aren't fetched here"),
        ('transfer.setData("text/html", "<img src=\'https://example.invalid/a.jpg\'>");', "aren't fetched here"),
        ('transfer.setData("text/plain", "some words");', "holds no picture"),
    ],
)
def test_a_drop_from_another_page_is_answered(page, dropped, told):
    script(page, DROP.format(dropped))
    page.wait(lambda: told in page.one("#toast").text)


def test_a_picture_within_a_page_is_searched_by(page):
    small = page.site.ask("GET", "/api/thumbnail?id=towns/5.png&side=64")[2]
    script(
        page,
        DROP.format("transfer.setData('text/html', arguments[0]);"),
        f'<img src="data:image/jpeg;base64,{__import__("base64").b64encode(small).decode()}">',
    )
    page.wait(lambda: page.ids() and "towns/5.png" in page.ids()[:2])


def test_an_address_in_the_box_is_one_and_no_words(page):
    page.one("#words").send_keys("https://example.invalid/a.jpg", Keys.ENTER)
    page.wait(lambda: "--allow-urls" in page.one("#toast").text)
    assert page.query() == {}


def test_options_close_by_escape_and_by_a_click_elsewhere(page):
    for close in (lambda: press(page, Keys.ESCAPE), lambda: page.one("#message").click()):
        page.one("#options summary").click()
        page.wait(lambda: page.one("#options").get_attribute("open") is not None)
        close()
        page.wait(lambda: page.one("#options").get_attribute("open") is None)


def test_a_selection_grows_by_shift_and_ctrl_a_is_shown_and_survives(page):
    tiles = page.all(".tile > button")
    tiles[1].send_keys("s")
    ActionChains(page.browser).key_down(Keys.SHIFT).click(tiles[4]).key_up(Keys.SHIFT).perform()
    page.wait(lambda: page.one("#selected").text == "4 selected")
    page.browser.refresh()
    page.wait(lambda: page.one("#selected").text == "4 selected" and page.all(".tile"))
    page.click("#show-selection")
    page.wait(lambda: len(page.all(".tile")) == 4 and page.one("#message").text == "4 pictures selected.")
    page.click("#clear-selection")
    page.wait(lambda: len(page.all(".tile")) > 4)
    page.all(".tile > button")[0].send_keys(Keys.CONTROL + "a")
    page.wait(lambda: int(page.one("#selected").text.split()[0]) >= 100)
    page.click("#like-selection")
    page.wait(lambda: len(page.query().get("likes", [])) == 30)
    assert len(page.all("#chips li")) <= 7


def test_the_map_never_shows_nothing_and_hides_the_card_when_it_moves(page):
    page.open(tab="map")
    page.wait(lambda: "in sight" in page.one("#view-map").text)
    over = page.one(".map .over")
    over.send_keys(*"+" * 12)
    over.send_keys(*[Keys.ARROW_LEFT] * 10)
    time.sleep(0.5)
    assert not page.one("#view-map .message").text.startswith("0 of")


@pytest.mark.parametrize(("words", "found"), [("picaso", 1), ("beach", 66), ("port", 1), ("portraits", 1)])
def test_words_are_forgiven_a_slip_a_plural_and_their_end(page, words, found):
    page.one("#words").send_keys(words, Keys.ENTER)
    page.wait(lambda: page.query() == {"words": words} and page.ids())
    assert f": {found} of 131 images" in page.one("#message").text
    assert page.one("#words").get_property("value") == words  # to be edited


def test_the_grid_is_one_tab_stop_and_focus_is_never_lost(page):
    assert script(page, "return document.querySelectorAll('.tile > button[tabindex=\"0\"]').length") == 1
    tile = page.all(".tile > button")[0]
    tile.send_keys(Keys.ARROW_RIGHT)
    assert script(page, "return document.querySelectorAll('.tile > button[tabindex=\"0\"]').length") == 1
    page.browser.switch_to.active_element.send_keys("l")
    page.wait(lambda: page.ids() and script(page, "return document.activeElement.closest('.tile')?.dataset.at") == "0")
    press(page, "?")
    page.wait(lambda: "Keys and gestures" in page.one("#help").text)
    press(page, Keys.ESCAPE)


def test_numbers_in_names_are_sorted_by_value_and_the_whole_path_is_copied(page):
    names = script(page, "return [...document.querySelectorAll('.tile')].map((tile) => tile.dataset.id)")
    assert names[:3] == ["beaches/1.png", "beaches/2.png", "beaches/3.png"]
    page.all(".tile > button")[1].click()
    page.wait(lambda: page.one("#viewer").is_displayed())
    script(
        page, "Object.defineProperty(navigator, 'clipboard', { value: undefined, configurable: true })"
    )  # plain HTTP
    script(
        page,
        "document.addEventListener('copy', () => (window.copied = getSelection().toString() || document.activeElement.value))",
    )
    page.click("#viewer button", "Copy path")
    page.wait(lambda: script(page, "return window.copied") == str(site_path(page, "beaches/2.png")))


def site_path(page, identity):
    return (page.site.photos / identity).resolve()


def test_a_part_of_a_sent_picture_is_in_its_own_pixels(page, tmp_path):
    rng = np.random.default_rng(3)
    (tmp_path / "large.png").write_bytes(
        to_png(rng.integers(0, 256, (18, 24, 3), np.uint8).repeat(100, 0).repeat(100, 1))
    )
    page.one("#file").send_keys(str(tmp_path / "large.png"))
    page.wait(lambda: page.ids() and "large.png" in page.one("#chips").text)
    page.click("#chips button", "Crop large.png") if page.all("#chips button[aria-label='Crop large.png']") else None
    page.wait(lambda: page.one("#viewer").is_displayed())
    page.wait(lambda: script(page, "return document.querySelector('.stage img').naturalWidth") > 0)
    time.sleep(0.2)
    page.click("#viewer button", "Choose a part")
    page.click("#viewer .part button", "Use this part")
    page.wait(lambda: page.query()["images"][0].get("crop") == [480, 360, 1440, 1080])


def test_an_index_with_small_pictures_says_how_to_get_better_ones(page):
    assert json.loads(page.site.ask("GET", "/api/info")[2])["small_thumbnails"] is False
    assert not page.one("#sharper").is_displayed()
    script(page, "document.querySelector('#options').open = true; document.querySelector('#sharper').hidden = false")
    assert "lookalike index --rebuild" in page.one("#sharper").text
