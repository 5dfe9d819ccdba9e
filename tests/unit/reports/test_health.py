"""What a person should look at in an index: hubs, near-equal images, blank ones, odd ones."""

import io
import json

import numpy as np
import pytest

from lookalike import build_index, create_encoder, open_collection, open_index
from lookalike.cli.main import run
from lookalike.encoders.registry import TABLE
from lookalike.reports.health import K, check_health, skewness_of_counts
from quadrants import ENTRY, pictures


@pytest.fixture(autouse=True)
def table(monkeypatch):
    monkeypatch.setitem(TABLE, "quadrants", ENTRY)


def finding(health, name):
    return next(f for f in health.findings if f.name == name)


def rays(angles):
    """Images whose quadrants point in these directions, in degrees."""
    radians = np.radians(angles)
    return pictures(*np.stack([250 * np.cos(radians), 250 * np.sin(radians), radians * 0, radians * 0], axis=1).round())


def test_the_skewness_by_hand():
    counts = np.array([0, 1, 1, 2, 6])
    centred = counts - counts.mean()
    wanted = (centred**3).mean() / (centred**2).mean() ** 1.5
    assert skewness_of_counts(counts, 5, 5) == pytest.approx(wanted)
    assert np.isnan(skewness_of_counts(np.array([2, 2, 2]), 3, 3))
    assert np.isnan(skewness_of_counts(np.array([1, 0, 0]), 2, 3))


@pytest.mark.slow
def test_the_skewness_by_a_sample_is_that_by_all():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((3000, 12))
    squares = (points**2).sum(axis=1)
    distances = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1)[:, :K]
    whole = skewness_of_counts(np.bincount(nearest.ravel(), minlength=3000), 3000, 3000)
    by_samples = []
    for _ in range(20):
        asked = rng.permutation(3000)[:600]
        by_samples.append(skewness_of_counts(np.bincount(nearest[asked].ravel(), minlength=3000), 600, 3000))
    assert whole > 1
    assert np.mean(by_samples) == pytest.approx(whole, rel=0.1)
    plain = nearest[rng.permutation(3000)[:600]].ravel()
    counts = np.bincount(plain, minlength=3000) - plain.size / 3000
    assert abs((counts**3).mean() / (counts**2).mean() ** 1.5 - whole) > 0.1 * whole  # uncorrected it isn't


def test_what_is_near_all_others_is_a_hub(tmp_path):
    """One image in the middle of a ring of others in many dimensions is among the nearest of each."""
    rng = np.random.default_rng(0)
    images = np.full((120, 8, 8), 128.0)
    images[1:] += np.sign(rng.standard_normal((119, 8, 8))) * 60
    index = build_index(open_collection(images.astype(np.uint8)), "pixels", tmp_path / "index")
    health = check_health(index)
    hubs = finding(health, "hubs")
    assert (hubs.rows[0], hubs.values[0]) == (0, 119)
    assert health.skewness > 3
    assert (health.images, health.sampled) == (120, 120)
    similar = index.database().distances(index.descriptors)
    np.fill_diagonal(similar, np.inf)
    counts = np.bincount(np.argsort(similar, axis=1, kind="stable")[:, :K].ravel(), minlength=120)
    assert health.never == (counts == 0).sum()


def test_near_equal_images_make_a_cluster(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 32, 32), np.uint8)
    images = np.stack([np.asarray(Image.fromarray(i).resize((4, 4)).resize((32, 32))) for i in images])
    file = io.BytesIO()
    Image.fromarray(images[7]).save(file, "JPEG", quality=95)
    images[20] = np.asarray(Image.open(file))
    images[25] = images[3]
    found = finding(check_health(build_index(open_collection(images), "hog", tmp_path / "index")), "duplicates")
    assert (found.count, found.clusters) == (2, [[3, 25], [7, 20]])
    assert found.cluster_ids == [["3", "25"], ["7", "20"]]
    assert found.to_json()["clusters"] == found.cluster_ids


def test_what_lies_alone_is_odd_even_if_there_are_two_of_it(tmp_path):
    index = build_index(open_collection(rays([*np.arange(0, 40, 2), 80, 80])), "quadrants", tmp_path / "index")
    odd = finding(check_health(index), "oddities")
    assert odd.count == 2
    assert odd.ids[:2] == ["20", "21"]
    assert odd.values[0] == pytest.approx(1 - np.cos(np.radians(80 - 38)), abs=0.01)


def test_a_blank_image_is_named(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16), np.uint8)
    images[4] = 77
    images[5] = 200
    images[5, 0, 0] = 0  # a speck
    blank = finding(check_health(build_index(open_collection(images), "pixels", tmp_path / "index")), "blank")
    assert blank.ids == ["4", "5"]


def test_what_is_left_out_as_blank_is_counted(tmp_path):
    images = np.random.default_rng(0).integers(1, 256, (12, 16, 16), np.uint8)
    images[4] = 0
    blank = finding(check_health(build_index(open_collection(images), "pixels", tmp_path / "index")), "blank")
    assert blank.count == 0
    assert blank.message.endswith("1 more were left out of the index as blank")


def test_what_an_autoencoder_can_t_rebuild_is_named(tmp_path, monkeypatch):
    from lookalike.encoders.pixels import Pixels

    def rebuilt(_, images):
        out = images.copy()
        out[images.reshape(len(images), -1).max(axis=1) == 255] //= 2
        return out

    images = np.random.default_rng(0).integers(0, 200, (30, 8, 8), np.uint8)
    images[11, 3, 3] = 255
    index = build_index(open_collection(images), "pixels", tmp_path / "index")
    monkeypatch.setattr(Pixels, "can_denoise", True)
    monkeypatch.setattr(Pixels, "decode", rebuilt, raising=False)
    hard = finding(check_health(index), "hard to rebuild")
    assert (hard.count, hard.ids[0]) == (1, "11")


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_handful_of_images_will_do(count, tmp_path):
    health = check_health(
        build_index(open_collection(rays([0, 20, 45, 60, 90][:count])), "quadrants", tmp_path / "index")
    )
    assert health.images == count
    assert json.loads(json.dumps(health.to_json(), allow_nan=False))["images"] == count
    assert health.lines()


def test_a_sample_is_said_to_be_one(digits, tmp_path):
    index = build_index(open_collection(digits[0]), "hog", tmp_path / "index")
    health = check_health(index, most=100)
    assert health.sampled == 50
    assert "neighbours of a sample of 50" in health.lines()[0]
    assert "of none in the sample" in health.lines()[1]
    assert check_health(index, most=100).to_json() == health.to_json()


@pytest.mark.parametrize(("encoder", "options"), [("itq", {"bits": 32}), ("pixels", {})])
def test_packed_codes_and_other_distances(encoder, options, digits, tmp_path):
    made = create_encoder(encoder, **options).fit(digits[0])
    if encoder == "pixels":
        made.distance = "euclidean"
    health = check_health(build_index(open_collection(digits[0]), made, tmp_path / "index"))
    assert [f.name for f in health.findings] == ["hubs", "duplicates", "blank", "oddities"]


@pytest.mark.slow
def test_the_command_prints_it_and_draws_a_sheet(digits, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    build_index(open_collection(digits[0]), "hog", tmp_path / "index")
    asked = ["info", "-i", str(tmp_path / "index"), "--health"]
    assert run([*asked, "-o", str(tmp_path / "sheet.png"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["count"] == 200
    assert said["health"]["hubness"]["neighbours"] == 10
    assert set(said["health"]) == {"images", "sampled", "hubness", "hubs", "duplicates", "blank", "oddities"}
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
    assert run(asked) == 0
    assert capsys.readouterr().out.splitlines()[0] == "200 images"


def test_a_sheet_without_health_is_a_wrong_call(tmp_path, capsys):
    build_index(open_collection(rays([0, 40])), "quadrants", tmp_path / "index")
    assert run(["info", "-i", str(tmp_path / "index"), "-o", str(tmp_path / "sheet.png")]) == 2
    assert "--picture draws what --health reports" in capsys.readouterr().err
    assert open_index(tmp_path / "index").manifest.count == 2


def test_of_one_image_there_is_nothing_to_tell(tmp_path):
    lines = check_health(build_index(rays([10]), "quadrants", tmp_path / "index")).lines()
    assert lines[0] == "1 image"
    assert "hubs: too few images to tell" in lines
