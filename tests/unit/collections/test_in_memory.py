"""What programs hand over as a query: one picture gives one answer, in whichever way it is given."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image, ImageCms

from lookalike import build_index, open_collection
from lookalike.errors import CollectionError, LookalikeError, UsageError
from lookalike.search.request import Query


def photo(seed, side=96):
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 7, 3), np.uint8))
    return coarse.resize((side, side + 8), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given") / "photos"
    folder.mkdir()
    for i in range(12):
        photo(i).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def index(photos):
    return build_index(photos, "color", photos / ".lookalike")


@pytest.fixture
def path(photos):
    return photos / "05.png"


def ways(path):
    data = path.read_bytes()
    image = Image.open(path)
    array = np.asarray(image)
    return {
        "str": str(path),
        "Path": path,
        "file address": path.as_uri(),
        "file address of this machine": path.as_uri().replace("file:///", "file://localhost/"),
        "Pillow": image,
        "Pillow, loaded": Image.open(path).copy(),
        "bytes": data,
        "bytearray": bytearray(data),
        "memoryview": memoryview(data),
        "BytesIO": io.BytesIO(data),
        "open file": path.open("rb"),
        "data address": f"data:image/png;base64,{base64.b64encode(data).decode()}",
        "array": array,
        "float in 0..1": array / 255,
        "float32 in 0..255": array.astype(np.float32),
        "uint16": array.astype(np.uint16) * 257,
        "opaque": np.asarray(image.convert("RGBA")),
        "a batch of one": array[None],
        "opaque batch": np.asarray(image.convert("RGBA"))[None],
        "view": array[::-1][::-1],
        "array of another library": Foreign(array),
    }


class Foreign:
    """As PyTorch and JAX have them."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


@pytest.mark.parametrize("way", [
    "str", "Path", "file address", "file address of this machine", "Pillow", "Pillow, loaded", "bytes", "bytearray", "memoryview",
    "BytesIO", "open file", "data address", "array", "float in 0..1", "float32 in 0..255", "uint16", "opaque", "a batch of one",
    "opaque batch", "view", "array of another library",
])  # fmt: skip
def test_a_query_is_given_in_any_way(way, index, path):
    found = index.search(ways(path)[way], 3)
    assert [m.id for m in found] == [m.id for m in index.search(path, 3)]
    assert found[0].id == "05.png"
    assert found[0].distance == pytest.approx(0, abs=1e-3)


@pytest.mark.slow
def test_one_query_of_json_is_given_in_any_way(index, path):
    data, image = path.read_bytes(), Image.open(path)
    coded = base64.b64encode(data).decode()
    for given in (
        str(path), path, {"path": path}, image, np.asarray(image), data, memoryview(data), io.BytesIO(data), {"data": data},
        {"data": io.BytesIO(data)}, {"data": image}, {"data": np.asarray(image)}, {"data": coded}, {"data": base64.encodebytes(data).decode()},
        {"data": coded.rstrip("=")}, {"data": base64.urlsafe_b64encode(data).decode()}, {"data": f"data:image/png;base64,{coded}"},
        {"data": f"data:image/png;charset=utf-8;base64,\n {coded}"}, {"data": f"DATA:;BASE64,{coded.replace('+', '%2B').replace('=', '%3D')}"},
        {"path": path.as_uri()},
    ):  # fmt: skip
        response = index.ask({"images": [given], "k": np.int64(2), "offset": np.uint8(0), "within": np.float32(0.9)})
        assert response.matches[0].id == "05.png", given
        for file in (given, given.get("data") if isinstance(given, dict) else None):
            if isinstance(file, io.BytesIO):
                file.seek(0)
        query = Query.from_json({"images": [given], "k": np.int32(3), "group": np.float64(0), "resize": np.bool_(True)})
        again = Query.from_json(json.loads(json.dumps(query.to_json())))
        assert index.ask(again).matches[0].id == "05.png"


def test_numbers_of_numpy_are_numbers(index, path):
    asked = {
        "images": [{"path": path, "crop": np.array([0, 0, 50, 50]), "weight": np.float32(2)}],
        "likes": [str(np.str_("05.png"))], "k": np.array(4), "offset": np.int16(1), "within": np.float16(2), "resize": np.bool_(False),
    }  # fmt: skip
    plain = {
        "images": [{"path": str(path), "crop": [0, 0, 50, 50], "weight": 2.0}],
        "likes": ["05.png"],
        "k": 4,
        "offset": 1,
        "within": 2,
    }
    assert Query.from_json(asked) == Query.from_json(plain)
    assert index.ask(asked) == index.ask(plain)
    assert index.ask({"images": [path], "k": 3.0}) == index.ask({"images": [path], "k": 3})
    assert len(index.search(path, np.uint64(2))) == 2
    assert open_collection(np.asarray(Image.open(path)), size=np.int64(9)).shape == (9, 9, 3)
    assert open_collection(np.asarray(Image.open(path)), size=np.array([9, 8])).shape == (9, 8, 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"images": [{"path": "x", "weight": 10**400}]}, "weight is a number of more than 300 digits"),
        ({"images": ["x"], "within": 10**400}, "within is a number of more than 300 digits"),
        ({"images": ["x"], "k": 10**400}, "k is beyond all counting"),
        ({"images": ["x"], "offset": 10**5000}, "offset is beyond all counting"),
        ({"images": ["x"], "k": np.float64(2.5)}, "k must be a whole number"),
        ({"images": ["x"], "k": np.array([1, 2])}, "k must be a whole number"),
        ({"images": ["x"], "within": np.nan}, "within is nan"),
        ({"images": [{"path": "x", "crop": [0, 0, 10**400, 3]}]}, "crop must be four whole numbers"),
        ({"images": [{"path": "x", "crop": "0,0,3,3"}]}, "crop must be four whole numbers"),
        ({"images": [{"data": "A" * 3_000_000 + "!"}]}, "data must be a file's bytes in base64"),
        ({"images": [{"data": "data:image/svg+xml,<svg/>"}]}, "data must be a file's bytes in base64"),
        ({"images": [{"data": 5}]}, "data must be a file's bytes in base64; got 5"),
        ({"images": [{"path": b"x"}]}, "path must be a string"),
        ({"images": [np.zeros((3, 8, 8, 3), np.uint8)]}, "holds 3 images, and here one is meant"),
        ({"images": [object()]}, "an entry of images must be a JSON object"),
        ({"where": "x" * 70, "k": [[[[1]]]]}, "k must be a whole number"),
    ],
    ids=lambda v: "" if isinstance(v, dict) else v[:30],
)
def test_what_is_no_query_is_refused_in_few_words(given, said, index):
    with pytest.raises(UsageError, match=said) as caught:
        index.ask(given)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("half", ["\ud800", "a\udcffb"])
def test_half_a_character_is_no_fault_of_ours(half, index, path):
    for given in ({"where": f"id = '{half}'"}, {"words": half + "png"}, {"likes": [half]}, {"images": [{"id": half}]},
                  {"images": [{"path": half}]}, {"images": [path], "encoder": half}, {"images": [path], "distance": half}):  # fmt: skip
        try:
            json.dumps(index.ask(given).to_json()).encode()
        except LookalikeError as e:
            str(e).encode("utf-8", "backslashreplace").decode()
            assert "unexpected" not in str(e)  # noqa: PT017


# Shapes ---------------------------------------------------------------------------------------------------------------


def test_opacity_is_laid_on_white():
    pixels = np.zeros((20, 30, 4), np.uint8)
    pixels[:, :15, 3] = 255
    (image,) = open_collection(pixels).array()
    assert (image[:, :15] == 0).all()
    assert (image[:, 15:] == 255).all()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    assert np.array_equal(open_collection(file.getvalue()).array()[0], image)
    grey = np.zeros((20, 30, 2), np.uint8)
    assert open_collection(grey).array().tolist() == np.full((1, 20, 30), 255).tolist()
    assert open_collection(np.stack([pixels / 255] * 2)).array().tolist() == [image.tolist()] * 2


@pytest.mark.parametrize(
    ("shape", "fix"),
    [
        ((300, 784), "array.reshape(-1, 28, 28)"),
        ((1, 784), "array.reshape(-1, 28, 28)"),
        ((50, 3072), "array.reshape(-1, 32, 32, 3)"),
        ((400, 4096), "array.reshape(-1, 64, 64)"),
        ((100, 64), "array.reshape(-1, 8, 8)"),
    ],
)
def test_images_written_as_rows_are_asked_about(shape, fix, digits):
    rng = np.random.default_rng(0)
    for table in (rng.integers(0, 255, shape, np.uint8), rng.random(shape)):
        with pytest.raises(CollectionError) as caught:
            open_collection(table)
        assert fix in str(caught.value)
        assert "array[None]" in str(caught.value)
    with pytest.raises(CollectionError, match="200 images written as rows"):
        open_collection(digits[0].reshape(200, 784))


def test_a_picture_of_any_width_is_a_picture():
    for width in (64, 192, 400, 784, 900, 1024, 3072):
        grey = photo(3, width).convert("L").resize((width, 300))
        assert open_collection(np.asarray(grey)).array().shape == (1, 300, width)
    assert open_collection(np.zeros((300, 784), np.uint8)).array().shape == (1, 300, 784)


def test_channels_that_come_first_are_asked_about(digits):
    grey = np.asarray(photo(3).convert("L"), np.float32)
    colour = np.stack([grey, 0.9 * grey + 9, 0.7 * grey + 20]).astype(np.uint8)  # as alike as a photo's channels are
    with pytest.raises(CollectionError, match=r"channels come first.*transpose\(1, 2, 0\)"):
        open_collection(colour)
    with pytest.raises(CollectionError, match=r"transpose\(0, 2, 3, 1\)"):
        open_collection(colour[None])
    assert len(open_collection(colour[..., None])) == 3
    assert len(open_collection(digits[0][:3])) == 3


@pytest.mark.parametrize("array", [np.zeros((2, 2), object), np.array(["a"]), np.zeros((4, 4), complex), np.zeros(()), np.zeros(9),
                                   np.zeros((2, 3, 4, 5, 6)), np.full((8, 9), np.nan), np.zeros((0, 8, 8))])  # fmt: skip
def test_arrays_that_are_no_images_are_refused(array):
    with pytest.raises(CollectionError):
        open_collection(array)


# Pillow images --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F", "La", "RGBa"]
)
def test_a_pillow_image_of_every_mode_is_shown_as_a_file_of_it(mode):
    source = photo(2)
    image = (
        source.convert("L").convert(mode)
        if mode in ("I;16", "I", "F")
        else source.convert("RGBA" if mode == "RGBa" else "LA" if mode == "La" else mode)
    )
    if mode in ("La", "RGBa"):
        image = image.convert(mode)
    shown = open_collection(image).array()[0]
    expected = np.asarray(source.convert("L" if mode in ("1", "L", "I;16", "I", "F") else "RGB"), np.int16)
    if shown.ndim == 2 and expected.ndim == 3:
        expected = np.asarray(source.convert("L"), np.int16)
    if mode not in ("1", "P", "LA", "La", "I;16"):
        assert np.abs(shown.astype(np.int16) - expected).mean() < 6


def test_a_pillow_image_is_upright_and_in_srgb(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    photo(2).save(
        tmp_path / "turned.jpg",
        exif=exif,
        icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    )
    assert np.array_equal(
        open_collection(Image.open(tmp_path / "turned.jpg")).array(), open_collection(tmp_path / "turned.jpg").array()
    )


def test_a_pillow_image_that_cannot_be_read_is_refused(tmp_path):
    photo(2).save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    with pytest.raises(CollectionError, match="a Pillow image that can't be read"):
        open_collection(Image.open(tmp_path / "cut.png"))
    closed = Image.open(tmp_path / "a.png")
    closed.close()
    with pytest.raises(CollectionError):
        open_collection(closed)


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"no image", "an image: "),
        (b"", "an image: "),
        (io.StringIO("text"), "open it with mode 'rb'"),
        (None, "not as NoneType"),
        (5, "not as int"),
        ([1, 2], "not as list"),
        (["a.png", "b.png"], "not as list"),
        ("https://example.com/cat.jpg", "nothing is fetched from the network; download it"),
        ("s3://bucket/cat.jpg", "nothing is fetched from the network"),
        ("file://elsewhere/cat.jpg", "names another machine, elsewhere"),
        ("file:///no/such.jpg", "/no/such.jpg: no such file"),
        ("data:image/png;base64,iVBO", "an image: "),
        ("data:text/plain,hello", "data must be a file's bytes in base64"),
        ("x" * 100_000, "can't be read"),
        ("a\0b.png", "no such file"),
    ],
    ids=lambda v: str(v)[:24],
)
def test_what_is_no_image_is_refused_in_few_words(given, said, index):
    with pytest.raises((CollectionError, UsageError), match=said) as caught:
        index.search(given, 1)
    assert len(str(caught.value)) < 600


def test_a_file_address_may_hold_blanks_and_other_signs(tmp_path):
    path = tmp_path / "a b%20ü.png"
    photo(1).save(path)
    assert len(open_collection(path.as_uri())) == 1
    assert len(open_collection("FILE:" + path.as_uri()[5:])) == 1
    assert len(open_collection(f"{path.as_uri()}[0]")) == 1


class Failing:
    """A file or an array that another library gives, and which fails as that library does."""

    def __init__(self, error):
        self.error = error


class FailingFile(Failing):
    def read(self, size=-1):
        raise self.error


class FailingArray(Failing):
    def __array__(self, dtype=None, copy=None):
        raise self.error


def released():
    view = memoryview(b"x")
    view.release()
    return view


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (FailingFile(EOFError("ended before the end-of-stream marker")), "end-of-stream marker.*open it again"),
        (FailingFile(RuntimeError("no")), "can't be read .no.; open it again"),
        (FailingArray(TypeError("can't convert cuda:0 device type tensor")), "cuda:0.*give a NumPy array"),
        (FailingArray(RuntimeError("requires grad")), "requires grad.*give a NumPy array"),
        (released(), "released memoryview.*give them as bytes"),
        (Image.new("RGB", (0, 0)), "0 x 0 pixels, which shows nothing"),
        (Image.new("L", (5, 0)), "5 x 0 pixels, which shows nothing"),
    ],
)
def test_what_another_library_fails_to_give_is_refused_with_what_to_do(given, said, index):
    for ask in (lambda: index.search(given), lambda: index.ask({"images": [given]}), lambda: open_collection(given)):
        with pytest.raises(CollectionError, match=said):
            ask()


def test_a_data_address_may_stand_between_blanks(index, path):
    coded = base64.b64encode(path.read_bytes()).decode()
    assert index.ask({"images": [{"data": f"\n data:image/png;base64,{coded}\n"}]}).matches[0].id == "05.png"
