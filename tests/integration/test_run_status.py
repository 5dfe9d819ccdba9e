"""How far a run is, as others are told over the service and on the page."""

from __future__ import annotations

import threading
import time

import pytest

import lookalike
import lookalike.index.sync.commit
import lookalike.index.sync.run
from lookalike import build_index
from lookalike.imaging.encode import to_png

AT, LONG = 31, 60


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, image in enumerate(lookalike.open_collection("mnist:test[0:40]").array()):
        (folder / f"{i:02}.png").write_bytes(to_png(image))
    return folder


class Held:
    """A real run that stands still after some files until it is let go."""

    def __init__(self, folder, monkeypatch):
        monkeypatch.setattr(lookalike.index.sync.run, "_SHOW_SECONDS", 0)  # so that each file is told
        self.there, self.go = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.run, args=[folder], daemon=True)
        self.thread.start()
        assert self.there.wait(LONG)

    def run(self, folder):
        build_index(folder, "pixels", folder / ".lookalike", rebuild=True, on_progress=self.told)

    def told(self, done, total):
        if done == AT - 1:
            time.sleep(1.1)  # the first was noted less than a second ago
        if done == AT:
            self.there.set()
            assert self.go.wait(LONG)

    def end(self):
        self.go.set()
        self.thread.join(LONG)
        assert not self.thread.is_alive()


def test_the_page_and_the_service_show_it(photos, monkeypatch):
    pytest.importorskip("uvicorn", reason="the extra serve isn't installed")
    pytest.importorskip("selenium", reason="selenium isn't installed")
    from chromium import CHROMIUM, DRIVER, Page, opened
    from served import Site, events

    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium and chromedriver here")
    build_index(photos, "pixels", photos / ".lookalike")
    site, browser = Site(photos / ".lookalike"), opened()
    try:
        assert next(events(site))["run"] is None
        page = Page(browser, site).open(tab="files")
        page.wait(lambda: page.all("#view-files button"))
        assert not page.one("#view-files .run").is_displayed()
        run = Held(photos, monkeypatch)
        told = next(news["run"] for news in events(site) if news["run"])
        assert (told["done"], told["total"]) == (AT, 40)
        page.wait(lambda: page.one("#view-files .run").is_displayed())
        page.wait(lambda: f"{AT} of 40" in page.one("#view-files .run").text)
        assert (
            page.one("#view-files .run progress").get_property("value"),
            page.one("#view-files .run progress").get_property("max"),
        ) == (AT, 40)
        assert f"Indexing: {AT} of 40" in page.one("#state").text
        page.shot("files while indexing")
        page.click("#view-files button", "indexed 40")
        page.wait(lambda: page.all("#view-files tbody tr"))
        assert page.one("#view-files .run").is_displayed()
        run.end()
        page.wait(lambda: not page.one("#view-files .run").is_displayed())
        page.wait(lambda: page.one("#state").text == "40 images")
        assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
    finally:
        browser.quit()
        site.stop()
