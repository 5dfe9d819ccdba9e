"""The page in Chromium: a browser, and what a person does with the page."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no chromium and chromedriver here (Debian: apt-get install chromium chromium-driver)",
)


def opened(width=1200, height=800, dark=False, mobile=False, flags=()):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--window-size={width},{height}",
        *quiet,
        *flags,
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    if dark:
        features = [{"name": "prefers-color-scheme", "value": "dark"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    if mobile:
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    return browser


class Page:
    def __init__(self, browser, site):
        self.browser, self.site = browser, site

    def open(self, query=None, tab=None):
        parts = [f"q={json.dumps(query)}"] if query else []
        self.browser.get(f"{self.site.url}/?{'&'.join(parts + ([f'tab={tab}'] if tab else []))}")
        self.wait(lambda: self.all(".tile") or tab)
        return self

    def wait(self, done, seconds=10):
        # The page draws anew meanwhile, so that an element in hand may be gone.
        waiting = WebDriverWait(self.browser, seconds, 0.05, ignored_exceptions=[StaleElementReferenceException])
        return waiting.until(lambda _: done())

    def all(self, css):
        return self.browser.find_elements(By.CSS_SELECTOR, css)

    def one(self, css):
        return self.browser.find_element(By.CSS_SELECTOR, css)

    def click(self, css, text=None):
        found = [e for e in self.all(css) if text is None or e.text == text or e.get_attribute("aria-label") == text]
        assert found, f"{css} {text}"
        self.browser.execute_script("arguments[0].click()", found[0])

    def query(self):
        given = parse_qs(urlsplit(self.browser.current_url).query)
        return json.loads(given["q"][0]) if "q" in given else {}

    def names(self):
        return [e.get_attribute("aria-label") for e in self.all(".tile > button")]

    def ids(self):
        """Return the ids of the answers that are shown; none while the collection is."""
        script = "return [...document.querySelectorAll('.tile[data-rank]')].map((tile) => tile.dataset.id)"
        return self.browser.execute_script(script)

    def shot(self, name):
        if folder := os.environ.get("LOOKALIKE_SHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.browser.save_screenshot(str(Path(folder) / f"{name}.png"))
