"""Pictures that strangers send, decoded: where no folder can be written to, and what all of one request may cost."""

from __future__ import annotations

import os
import shutil
import tempfile
from io import BytesIO

import numpy as np
import pytest

from lookalike.errors import ImageError
from lookalike.imaging.encode import to_png
from lookalike.server import uploads
from lookalike.server.upload_cache import UploadCache
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


def test_tiny_files_are_kept_no_longer_than_their_number_allows(monkeypatch):
    monkeypatch.setattr("lookalike.server.upload_cache.MAX_FILES", 10)
    kept = UploadCache()
    names = [kept.add(b"%d" % n, Upload(PICTURE, 30, 40)) for n in range(30)]
    assert len(kept._files) == 10
    assert kept.get(names[-1]) == b"29"
