"""Pictures that strangers send, decoded: where no folder can be written to, and what all of one request may cost."""

from __future__ import annotations

import os
import shutil
import tempfile
from base64 import b64encode
from io import BytesIO

import numpy as np
import pytest

from lookalike.errors import ImageError, UsageError
from lookalike.imaging.encode import to_png
from lookalike.imaging.limits import Limits
from lookalike.imaging.sandbox.api import Answer
from lookalike.server import uploads
from lookalike.server.upload_cache import MAX_DECODED, ForgottenUploadError, UploadCache
from lookalike.server.uploads import MAX_SIDE, Allowance, Decoder, Upload

PICTURE = np.arange(40 * 30, dtype=np.uint8).reshape(40, 30)
DATA = to_png(PICTURE)


@pytest.fixture
def decoder():
    made = Decoder(workers=1)
    yield made
    made.close()


def test_a_folder_that_a_cleaner_has_removed_is_made_again(decoder, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for _ in range(2):
        assert (decoder.decode(DATA).pixels == PICTURE).all()
        (folder,) = tmp_path.iterdir()
        assert not any(folder.iterdir())
        shutil.rmtree(folder)
    decoder.close()
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("case", ["no folder at all", "a file in its place", "a full disk", "a folder that closed"])
def test_where_nothing_can_be_written_a_picture_is_decoded_all_the_same(decoder, monkeypatch, tmp_path, case):
    if case == "no folder at all":
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    elif case == "a file in its place":
        (tmp_path / "tmp").write_bytes(b"")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    elif case == "a full disk":
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        full = "/dev/full"
        if not os.path.exists(full):
            pytest.skip("no /dev/full here")
        folder = tmp_path / "ours"
        folder.mkdir()
        monkeypatch.setattr(tempfile, "mkstemp", lambda **_: (os.open(full, os.O_WRONLY), str(folder / "a")))
    else:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        decoder.decode(DATA)
        (folder,) = tmp_path.iterdir()
        if os.geteuid() == 0:  # whom no closed folder keeps out
            monkeypatch.setattr(tempfile, "mkstemp", _closed)
        else:
            folder.chmod(0)
    assert (decoder.decode(DATA).pixels == PICTURE).all()
    with pytest.raises(ImageError, match="not an image"):
        decoder.decode(b"no image at all")


def _closed(**_):
    raise PermissionError(13, "Permission denied")


def test_all_pictures_of_a_request_together_have_so_many_pixels(decoder, monkeypatch):
    monkeypatch.setattr(uploads, "TOGETHER_PIXELS", 3000)
    allowance = Allowance()
    for _ in range(2):
        decoder.decode(DATA, allowance=allowance)
    assert allowance.pixels == 600
    with pytest.raises(ImageError, match="brings the request over") as told:
        decoder.decode(DATA, allowance=allowance)
    assert told.value.outcome == "bomb"
    assert decoder.decode(to_png(PICTURE[:20]), allowance=allowance).height == 20
    decoder.decode(DATA)  # another request has its own


def test_a_large_picture_costs_what_it_is_and_not_what_is_kept_of_it(decoder):
    from PIL import Image

    file = BytesIO()
    Image.new("L", (3000, 2000)).save(file, "PNG")
    allowance = Allowance()
    before = allowance.pixels
    shown = decoder.decode(file.getvalue(), allowance=allowance)
    assert max(shown.pixels.shape) == MAX_SIDE
    assert before - allowance.pixels == 6_000_000


def test_all_pictures_of_a_request_together_have_so_much_time(decoder, monkeypatch):
    monkeypatch.setattr(uploads, "TOGETHER_SECONDS", 0.0)
    with pytest.raises(ImageError, match="took over") as told:
        decoder.decode(DATA, allowance=Allowance())
    assert told.value.outcome == "too large"


def test_the_last_of_the_time_is_counted(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(uploads.time, "monotonic", lambda: now[0])
    allowance = Allowance()
    assert allowance.seconds() == 60
    now[0] += 59.5
    assert allowance.seconds() == 0.5
    now[0] += 0.5
    with pytest.raises(ImageError, match="the images of this request took over 60 s; send fewer"):
        allowance.seconds()


def in_the_worker(crop):
    task = {"data": b64encode(DATA).decode(), "where": "cat.png", "crop": crop, "limits": vars(uploads.LIMITS)}
    ((facts, blobs),) = uploads.decode_task(task)
    return facts, blobs


@pytest.mark.parametrize("crop", [(0, 0, 30, 40), (29, 39, 1, 1), (5, 6, 7, 8), (3, 4, 20, 1)])
def test_a_crop_is_that_part_of_the_upright_picture(crop):
    x, y, width, height = crop
    facts, (pixels,) = in_the_worker(crop)
    assert facts == {"shape": [height, width], "width": 30, "height": 40}
    assert pixels == PICTURE[y : y + height, x : x + width].tobytes()


@pytest.mark.parametrize(
    "crop", [(-1, 0, 5, 5), (0, -1, 5, 5), (0, 0, 0, 5), (0, 0, 5, 0), (26, 0, 5, 5), (0, 36, 5, 5), (30, 40, 1, 1)]
)
def test_a_crop_that_lies_outside_is_refused(crop):
    x, y, width, height = crop
    said = f"cat.png: the crop {width} x {height} at {x}, {y} isn't inside its 30 x 40 pixels"
    assert in_the_worker(crop) == ({"outcome": "outside", "reason": said}, [])


def test_a_crop_that_lies_outside_is_the_callers_fault(decoder):
    with pytest.raises(UsageError, match="isn't inside its 30 x 40 pixels"):
        decoder.decode(DATA, "cat.png", (26, 0, 5, 5))


def test_a_picture_is_made_as_small_as_it_is_kept_and_never_larger():
    def shape(height, width):
        task = {
            "data": b64encode(to_png(np.zeros((height, width), np.uint8))).decode(),
            "where": "",
            "crop": None,
            "limits": {},
        }
        return next(uploads.decode_task(task))[0]["shape"]

    assert shape(MAX_SIDE, 5) == [MAX_SIDE, 5]
    assert shape(2 * MAX_SIDE, 6) == [MAX_SIDE, 3]
    assert shape(1, 4 * MAX_SIDE) == [1, MAX_SIDE]


def test_an_index_may_allow_more_than_we_do_and_never_less(decoder):
    small = Decoder(Limits(pixels=100, bytes=2**20, seconds=10.0, memory=2**30), workers=1)
    try:
        with pytest.raises(ImageError) as told:
            small.decode(DATA)
        assert told.value.outcome == "bomb"
        assert "of this request" not in str(told.value)
        assert small.decode(DATA, limits=Limits(pixels=1200)).height == 40
    finally:
        small.close()
    assert decoder.decode(DATA, limits=Limits(pixels=1)).height == 40


@pytest.mark.parametrize(
    "facts",
    [{}, {"shape": [40, 30]}, {"shape": "no", "width": 30, "height": 40}, {"shape": [40, 31], "width": 30, "height": 40},
     {"shape": [1200], "width": 30, "height": 40}, {"shape": [20, 30, 2], "width": 30, "height": 40}, {"shape": [40, 30], "width": None, "height": 40},
     {"shape": [1, 1200], "width": 1200, "height": 1}, {"shape": [1, 1, 40, 30], "width": 30, "height": 40}, {"shape": 3}],
)  # fmt: skip
def test_a_decoder_that_was_taken_over_is_not_believed(decoder, monkeypatch, facts):
    monkeypatch.setattr(decoder._sandbox, "run", lambda _: Answer(facts, [PICTURE.tobytes()]))
    with pytest.raises(ImageError, match="the decoder sent an invalid answer; try another image") as told:
        decoder.decode(DATA)
    assert told.value.outcome == "crashed"


def test_files_are_kept_until_others_need_their_room():
    kept = UploadCache(max_bytes=10)
    picture = Upload(PICTURE, 30, 40)
    first, second = kept.add(b"12345", picture), kept.add(b"67890", picture)
    assert kept.add(b"12345", picture) == first  # known already: no more room, but the newest
    assert kept.get(second) == b"67890"
    kept.get(first)
    third = kept.add(b"x", picture)
    for name, there in ((first, True), (second, False), (third, True)):
        assert (kept.decoded(name) is not None) is there
    with pytest.raises(ForgottenUploadError, match="that image isn't kept any more; send it again"):
        kept.get(second)
    large = kept.add(b"x" * 100, picture)  # one is kept, however large
    assert (kept.get(large), list(kept._files)) == (b"x" * 100, [large])


def test_few_pictures_are_kept_decoded():
    kept = UploadCache()
    names = [kept.add(b"%d" % n, Upload(PICTURE, 30, 40)) for n in range(MAX_DECODED + 1)]
    assert [kept.decoded(name) is not None for name in names] == [False] + [True] * MAX_DECODED
    assert kept.get(names[0]) == b"0"


def test_tiny_files_are_kept_no_longer_than_their_number_allows(monkeypatch):
    monkeypatch.setattr("lookalike.server.upload_cache.MAX_FILES", 10)
    kept = UploadCache()
    names = [kept.add(b"%d" % n, Upload(PICTURE, 30, 40)) for n in range(30)]
    assert len(kept._files) == 10
    assert kept.get(names[-1]) == b"29"
