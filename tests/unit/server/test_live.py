"""The version that answers: what is told of one that can't be opened, and what is asked again when one was swept away."""

from __future__ import annotations

import logging

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra serve isn't installed")

from lookalike import build_index
from lookalike.errors import IndexStoreError
from lookalike.imaging.encode import to_png
from lookalike.index.manifest import MANIFEST
from lookalike.server.live import LiveIndex
from lookalike.server.prometheus import Metrics
from lookalike.server.schemas import ImageModel
from lookalike.server.service import Service
from lookalike.server.uploads import Allowance, Decoder, Upload

IMAGES = np.random.default_rng(0).integers(1, 256, (12, 4, 4), np.uint8)


@pytest.fixture
def live(tmp_path):
    build_index(IMAGES, "pixels", tmp_path / "index")
    return LiveIndex(tmp_path / "index")


@pytest.fixture
def service(live):
    made = Service(live, Decoder(workers=1), Metrics())
    yield made
    made.close()


def test_a_version_that_cannot_be_opened_is_told_once_and_the_last_goes_on(live, caplog):
    before = live.current()
    (live.path / MANIFEST).write_text("{}")
    with caplog.at_level(logging.WARNING, "lookalike"):
        for stamp in ((1, 2, 3), (1, 2, 4)):
            live._reopen(stamp)
            assert [record.message.endswith("goes on answering") for record in caplog.records] == [True]
    assert "manifest.json" in live.trouble
    assert live._views[None] is before


def test_what_was_swept_away_amid_a_request_is_asked_of_the_newest(service):
    asked = []

    def work(index):
        asked.append(index)
        if len(asked) == 1:
            raise IndexStoreError("its rows are gone")
        return len(index)

    assert service.ask_index(work) == 12
    assert asked[0] is not asked[1]
    assert asked[1] is service.live.current()


def test_a_picture_that_is_kept_but_no_longer_decoded_is_decoded_again(service):
    name = service.uploads.add(to_png(IMAGES[0]), Upload(IMAGES[1], 4, 4))
    asked = ImageModel(upload=name)
    assert (service.pixels(asked, Allowance()) == IMAGES[1]).all()  # as it was decoded
    service.uploads._decoded.clear()
    assert (service.pixels(asked, Allowance()) == IMAGES[0]).all()
