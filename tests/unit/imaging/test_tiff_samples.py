"""Every layout of pixels that formats allow, compared with what was meant and with libvips: equal, or refused."""

from __future__ import annotations

import struct
import warnings
from collections import Counter
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

import layouts
from layouts import HEIGHT, WIDTH, Frame, gif, scene, tiff
from lookalike.errors import ImageError
from lookalike.imaging.decode import decode, header_shape, pictures

pyvips = pytest.importorskip("pyvips", reason="pyvips and pyvips-binary aren't installed")
pytest.importorskip("imagecodecs", reason="imagecodecs isn't installed")
pytest.importorskip("tifffile", reason="tifffile isn't installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

MAKERS = ("tiffs", "tiffs_packed_as_pictures", "pngs", "gifs", "bmps", "ppms", "webps")
LEVELS = 2
# Where a colour of 16 bits is partly seen, its upper byte is taken, here as by libvips: up to a level each of two.
LEVELS_OF_16_BITS_WITH_ALPHA = 3


def by_libvips(data):
    """What libvips shows: upright, in sRGB, on white; None where it can't read it."""
    try:
        image = pyvips.Image.new_from_buffer(data, "").copy_memory().autorot()
        colours = image.bands - image.hasalpha()
        image = image.colourspace("srgb" if colours >= 3 else "b-w")
        if image.hasalpha():
            image = image.flatten(background=255)
        pixels = image.cast("uchar").numpy()
    except (pyvips.Error, IndexError):  # the latter of its own, for a picture of one pixel
        return None
    if pixels.ndim < 2:  # as it gives one pixel
        return None
    return pixels if pixels.shape[2:] in ((), (3,)) else pixels[..., 0]


def apart(one, other):
    """The largest difference between two pictures; grey is colour whose parts are equal."""
    one, other = (np.stack([a] * 3, -1) if a.ndim == 2 else a for a in (one, other))
    assert one.shape == other.shape
    return np.abs(one.astype(float) - other.astype(float)).max()


@pytest.fixture(scope="module")
def found():
    """All layouts, read once: what became of each."""
    counted = SimpleNamespace(total=0, refused=Counter(), compared=0, unread_by_libvips=0, wrong=[])
    for maker in MAKERS:
        for case in getattr(layouts, maker)():
            counted.total += 1
            try:
                pixels = decode(case.data, case.name)
                assert header_shape(case.data, case.name) == pixels.shape
            except ImageError as e:
                if case.by != "refused" or e.outcome != "unsupported":
                    counted.wrong.append(str(e))
                counted.refused[str(e).partition(": ")[2].partition(";")[0]] += 1
                continue
            if case.by == "refused":
                counted.wrong.append(f"{case.name}: read")
                continue
            levels = LEVELS_OF_16_BITS_WITH_ALPHA if "alpha" in case.name and "16" in case.name else LEVELS
            if case.meant is not None and apart(pixels, case.meant) > levels + 1e-6:
                counted.wrong.append(f"{case.name}: {apart(pixels, case.meant)} levels from what is meant")
            if case.by == "both":
                shown = by_libvips(case.data)
                if shown is None:
                    counted.unread_by_libvips += 1
                    continue
                counted.compared += 1
                if apart(pixels, shown) > LEVELS:
                    counted.wrong.append(f"{case.name}: {apart(pixels, shown)} levels from libvips")
    return counted


@pytest.mark.slow
def test_every_layout_is_read_as_it_is_meant_or_refused_as_unsupported(found):
    assert found.wrong == []
    assert found.total > 800
    assert found.compared > 500  # the rest is compared with what was written


@pytest.mark.slow
def test_few_layouts_are_refused_and_each_by_name(found):
    refused = sum(found.refused.values())
    print(f"refused: {refused} of {found.total} ({refused / found.total:.1%})")
    for why, n in found.refused.items():
        print(f"  {n}: {why}")
    assert refused < 0.05 * found.total
    for why in found.refused:
        assert why.startswith(("its kind of TIFF is not read (", "values from "))


def test_lab_is_the_same_colour_in_every_layout():
    """In 8 and 16 bits, with a sign and without, in planes: nothing else reads all of them."""
    shown = {case.name: decode(case.data, case.name) for case in layouts.tiffs_of_other_colours() if "lab" in case.name}
    assert len(shown) == 8
    first = shown["lab8-8-pixels.tif"].astype(int)  # test_images.py holds this one to the colours themselves
    assert first.std(axis=(0, 1)).min() > 30
    for pixels in shown.values():
        assert np.abs(pixels - first).mean() < 2


# Animations -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_frames_of_a_gif_are_composed_as_browsers_do():
    """By a compositor of a dozen lines, over every way in which a frame is taken away, partly covers, and is partly seen."""
    rng = np.random.default_rng(1)
    table, other = rng.integers(0, 256, (2, 16, 3))
    for first, second, clear, seen, part, own in product(range(4), range(4), (None, 3), (None, 5), (0, 1), (0, 1)):
        whole = rng.integers(0, 16, (HEIGHT - 8 * part, WIDTH - 9 * part))
        frames = [
            Frame(whole, 4 * part, 3 * part, clear, first),
            Frame(rng.integers(0, 16, (9, 12)), 2, 1, seen, second, table=other if own else None),
            Frame(rng.integers(0, 16, (11, 8)), 10, 6, seen, 2),
            Frame(rng.integers(0, 16, (5, 5)), 25, 12, None, 1),
        ]
        read = [p.fitted[0] for p in pictures(gif(frames, table), "here", [(HEIGHT, WIDTH, 3)], each=True)]
        for pixels, wanted in zip(read, composed(frames, table), strict=True):
            np.testing.assert_array_equal(pixels, wanted)


def composed(frames, table):
    canvas = np.zeros((HEIGHT, WIDTH, 4))
    for frame in frames:
        before = canvas.copy()
        h, w = frame.values.shape
        area = canvas[frame.top : frame.top + h, frame.left : frame.left + w]
        colours = (table if frame.table is None else frame.table)[frame.values]
        drawn = np.ones((h, w), bool) if frame.clear is None else frame.values != frame.clear
        area[drawn] = np.dstack([colours, np.full((h, w), 255)])[drawn]
        yield np.where(canvas[..., 3:] > 0, canvas[..., :3], 255)
        if frame.disposal == 2:
            area[:] = 0
        if frame.disposal == 3:
            canvas = before


# Real files -----------------------------------------------------------------------------------------------------------

# Where the two differ, and why what is shown here is right.
KNOWN = {
    # libvips takes no colours by the profile within a file; here they are brought to sRGB.
    "portrait_2.jpg": "profile",
    # Inks without a profile: libvips takes a press of its own.
    "TODO hpredict_cmyk.tiff": "inks",
    "cmyk_u8_edge_case.tif": "inks",
    "cmyk_u8_trunc_case.tif": "inks",
    "1cbb1bb37d62c44f67374cd451643dc4.jpg": "inks",
    "5482a54657765056f1a94116a8dbffe7.jpg": "inks",
    "jpg-cmyk-1.jpg": "inks",
    "jpg-cmyk-2.jpg": "inks",
    "ycck.jpg": "inks",
    # Luma and differences that aren't packed: libvips shows them as red, green and blue.
    "ycbcr_lzw_broken.tif": "YCbCr",
    "ycbcr_lzw_bt709.tif": "YCbCr",
    # Around a GIF's first frame: transparent, as in browsers; libvips shows black where no colour is transparent.
    "border_touching_layers.gif": "background",
}


@pytest.mark.slow
def test_real_and_hostile_files_are_shown_as_libvips_does(shared):
    compared = 0
    for path in sorted(path for path in shared("hostile").rglob("*") if path.is_file()):
        data = path.read_bytes()
        try:
            pixels = decode(data, path.name)
        except ImageError:
            continue
        if path.name in KNOWN or pixels.size > 3_000_000:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shown = by_libvips(data)
        if shown is not None:
            compared += 1
            assert apart(pixels, shown) <= LEVELS, path
    assert compared > 350


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"compression": 34712}, "JPEG 2000"),
        ({"compression": 50002}, "JPEG XL"),
        ({"compression": 34887}, "LERC"),
        ({"compression": 34713}, "raw photo"),
        ({"compression": 12345}, "number 12345"),
        ({"photometric": 32803}, "raw photo"),
        ({"photometric": 34892}, "raw photo"),
        ({"photometric": 32845}, "LogLuv"),
        ({"photometric": 4}, "transparency mask"),
        ({"photometric": 77}, "photometric interpretation 77"),
        ({"more": {339: ("H", (6, 6, 6))}}, "complex numbers"),
        ({"more": {339: ("H", (1, 3, 1))}}, "different depths or types"),
        ({"more": {258: ("H", (5, 6, 5))}}, "different depths or types"),
        ({"more": {317: ("H", (9,))}, "compression": 8, "planes": True}, "predictor 9"),
        ({"photometric": 1}, "3 samples a pixel"),
    ],
)
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", "<>")
def test_a_tiff_of_a_kind_that_is_not_read_is_unsupported_by_name(change, why, big, order):
    data = tiff(scene(3), **({"photometric": 2} | change), big=big, order=order)
    for work in (decode, header_shape):
        with pytest.raises(ImageError, match="not read") as caught:
            work(data, "here")
        assert caught.value.outcome == "unsupported"
        assert why in str(caught.value)
        assert "copy it again" not in str(caught.value)


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True), (">", True)])
def test_a_camera_s_raw_photo_is_not_taken_for_its_preview(order, big):
    """A small picture first, and the tag of DNG; or what the sensor saw in a directory that hangs on it."""
    preview = scene(3)
    for more in ({50706: ("B", (1, 4, 0, 0))}, {50706: ("B", (1, 4, 0, 0)), 254: ("I", (1,))}):
        assert "a camera's raw photo (DNG)" in refused(tiff(preview, 2, order=order, big=big, more=more))
    if order == ">" and big:  # no camera writes such
        return
    sensor = tiff(scene(1, 16), 32803, 16, order=order, big=big)
    start = struct.unpack_from(f"{order}Q" if big else f"{order}I", sensor, 8 if big else 4)[0]
    more = {254: ("I", (1,)), 271: ("B", tuple(b"NIKON CORPORATION"))}
    place = len(tiff(preview, 2, order=order, big=big, more=more | {330: ("Q" if big else "I", (0,))}))
    data = tiff(preview, 2, order=order, big=big, more=more | {330: ("Q" if big else "I", (place + start,))})
    assert "a camera's raw photo (Nikon)" in refused(data + sensor)
    # A preview of something else than a raw photo isn't the picture either.
    assert "a preview" in refused(data + tiff(scene(3), 2, order=order, big=big))


def refused(data):
    with pytest.raises(ImageError) as caught:
        decode(data, "here")
    assert caught.value.outcome == "unsupported"
    return str(caught.value)


def test_a_picture_with_smaller_ones_that_hang_on_it_is_read():
    """As files for zooming are made: the tag alone says nothing of a raw photo."""
    values = scene(3)
    data = tiff(values, 2, more={330: ("I", (8,)), 254: ("I", (0,)), 271: ("B", tuple(b"Canon\0"))})
    np.testing.assert_array_equal(decode(data, "here"), values)


def test_of_two_tags_of_one_number_the_first_counts_in_every_form():
    """The turn of the page made a second height, of one row."""
    for order, big in product("<>", (False, True)):
        data = tiff(scene(3), 2, order=order, big=big)
        endian = "little" if order == "<" else "big"
        old = (274).to_bytes(2, endian) + (3).to_bytes(2, endian) + (1).to_bytes(8 if big else 4, endian)
        assert data.count(old) == 1
        twice = data.replace(old, (257).to_bytes(2, endian) + old[2:])
        np.testing.assert_array_equal(decode(twice, "here"), scene(3))
        assert header_shape(twice, "here") == (HEIGHT, WIDTH, 3)


def test_a_packed_page_whose_lengths_lie_outside_its_file_is_truncated():
    """What follows a strip would be taken for its end."""
    data = tiff(scene(3), 2, compression=32773, planes=True)
    entry = data.index(struct.pack("<HHI", 279, 4, 12))
    with pytest.raises(ImageError) as caught:
        decode(data[: entry + 8] + struct.pack("<I", len(data)) + data[entry + 12 :], "here")
    assert caught.value.outcome == "truncated"
