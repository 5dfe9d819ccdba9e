"""The figures: what is on them, that marks don't rest on colour, and that files are written whole."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from io import BytesIO
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from lookalike.errors import LookalikeError, UsageError
from lookalike.reports import drawing, figures, line_charts

RNG = np.random.default_rng(7)


def pictures(n, *shape):
    return RNG.integers(0, 256, (n, *(shape or (28, 28))), np.uint8)


def pixels(artist):
    """What one picture of a grid shows; a grey one has three equal channels."""
    return np.asarray(artist.get_array())


def rgb(image):
    return image if image.ndim == 3 else np.stack([image] * 3, -1)


def texts(figure):
    found = [t.get_text() for ax in figure.axes for t in ax.texts] + [t.get_text() for t in figure.texts]
    for ax in figure.axes:
        found += [ax.get_xlabel(), *(t.get_text() for t in ax.get_xticklabels())]
    return found


def frames(figure, label):
    return [p for p in figure.axes[0].patches if isinstance(p, Rectangle) and p.get_label() == label]


def marks(figure, label):
    return [line for line in figure.axes[0].lines if line.get_label() == label]


def line(figure, label):
    [found] = [found for ax in figure.axes for found in ax.lines if found.get_label() == label]
    return found


# Denoising pairs


def test_denoising_pairs_hold_each_image_once_noisy_above_denoised():
    noisy, denoised = pictures(10), pictures(10)
    figure = figures.denoising_pairs(noisy, denoised)
    assert isinstance(figure, Figure)
    [ax] = figure.axes
    assert len(ax.images) == 20
    for i in range(10):
        above, below = ax.images[i], ax.images[10 + i]
        assert np.array_equal(pixels(above), rgb(noisy[i]))
        assert np.array_equal(pixels(below), rgb(denoised[i]))
        left, right, bottom, top = above.get_extent()
        assert [left, right] == list(below.get_extent()[:2])
        assert top < bottom <= below.get_extent()[3]  # y runs downwards
    assert {"noisy", "denoised"} <= set(texts(figure))
    assert "original" not in texts(figure)


def test_the_original_is_a_first_row():
    rows = [pictures(4, 20, 30, 3) for _ in range(3)]
    figure = figures.denoising_pairs(rows[1], rows[2], original=rows[0])
    images = figure.axes[0].images
    assert len(images) == 12
    assert np.array_equal(pixels(images[0]), rgb(rows[0][0]))
    assert images[0].get_extent()[2] < images[4].get_extent()[3]
    assert "original" in texts(figure)


def test_grey_is_shown_as_it_is_not_stretched():
    dark = np.full((2, 8, 8), 40, np.uint8)
    png = Image.open(BytesIO(figures.render(figures.denoising_pairs(dark, dark + 1), "png"))).convert("RGB")
    shown = {colour for count, colour in png.getcolors(1 << 20) if count > 5000}
    assert shown == {(255, 255, 255), (40, 40, 40), (41, 41, 41)}


@pytest.mark.parametrize(
    ("noisy", "denoised", "said"),
    [
        (pictures(3), pictures(2), "2 images beside 3"),
        (pictures(3), pictures(3).astype(np.float32), "expected uint8 images"),
        (pictures(3)[0], pictures(3)[0], "expected uint8 images"),
        (pictures(0), pictures(0), "there is no image"),
        (pictures(3, 8, 8, 4), pictures(3, 8, 8, 4), "expected uint8 images"),
    ],
)
def test_rows_that_cannot_be_drawn_are_refused(noisy, denoised, said):
    with pytest.raises(UsageError, match=said):
        figures.denoising_pairs(noisy, denoised)


# Query and answers


def test_each_answer_is_drawn_on_its_querys_line():
    queries, answers = pictures(3), [pictures(10) for _ in range(3)]
    figure = figures.retrieved(queries, answers)
    [ax] = figure.axes
    assert len(ax.images) == 33
    at = 0
    for query, found in zip(queries, answers, strict=True):
        first, *rest = ax.images[at : at + 11]
        assert np.array_equal(pixels(first), rgb(query))
        assert all(np.array_equal(pixels(r), rgb(f)) for r, f in zip(rest, found, strict=True))
        assert all(r.get_extent()[2:] == first.get_extent()[2:] for r in rest)
        gaps = np.diff([i.get_extent()[0] for i in (first, *rest)]) - 1
        assert gaps[0] > 3 * gaps[1]  # the query stands apart
        assert np.allclose(gaps[1:], gaps[1])
        at += 11
    assert {"query", "1", "10"} <= set(texts(figure))


def test_without_right_nothing_is_marked():
    figure = figures.retrieved(pictures(2), [pictures(3)] * 2)
    assert not any(frames(figure, label) for label in ("right", "wrong"))
    assert not any(marks(figure, label) for label in ("check", "cross"))
    assert not any("right" in t for t in texts(figure))


def test_right_and_wrong_differ_by_mark_dash_and_colour():
    right = RNG.random((4, 10)) < 0.6
    figure = figures.retrieved(pictures(4), [pictures(10)] * 4, right=right)
    n = int(right.sum())
    # One more of each stands in the legend.
    assert len(frames(figure, "right")) == len(marks(figure, "check")) == n + 1
    assert len(frames(figure, "wrong")) == len(marks(figure, "cross")) == right.size - n + 1
    dashes = [{str(f._unscaled_dash_pattern) for f in frames(figure, label)} for label in ("right", "wrong")]
    assert len(dashes[0]) == len(dashes[1]) == 1
    assert dashes[0] != dashes[1]
    assert {to_hex(f.get_edgecolor()) for f in frames(figure, "right")} == {drawing.RIGHT}
    assert {to_hex(f.get_edgecolor()) for f in frames(figure, "wrong")} == {drawing.WRONG}
    assert any(t.startswith("right") for t in texts(figure))
    assert any(t.startswith("wrong") for t in texts(figure))
    # The marks are strokes of different shape, not letters that a font may lack.
    assert len(marks(figure, "check")[0].get_xdata()) == 3
    assert np.isnan(marks(figure, "cross")[0].get_xdata()).sum() == 1


def test_each_mark_sits_on_its_own_answer():
    right = np.array([[True, False, True], [False, False, True]])
    figure = figures.retrieved(pictures(2), [pictures(3)] * 2, right=right)
    images = [i for n, i in enumerate(figure.axes[0].images) if n % 4]  # without the queries
    for image, good in zip(images, right.ravel(), strict=True):
        left, edge, bottom, top = image.get_extent()
        inside = [
            f.get_label()
            for f in frames(figure, "right") + frames(figure, "wrong")
            if f.get_x() < left and edge < f.get_x() + f.get_width()
            if f.get_y() < top and bottom < f.get_y() + f.get_height()
        ]
        assert inside == ["right" if good else "wrong"]


def test_a_mark_can_be_told_in_grey():
    """A colour-blind reader, or a grey printer: the two badges differ in shape, pixel by pixel."""
    one = [
        figures.render(
            figures.retrieved(pictures(1), [np.zeros((1, 28, 28), np.uint8)], right=np.array([[good]])), "png"
        )
        for good in (True, False)
    ]
    a, b = (np.asarray(Image.open(BytesIO(png)).convert("L"), int) for png in one)
    height, width = (min(x) for x in zip(a.shape, b.shape, strict=True))
    assert (np.abs(a[:height, :width] - b[:height, :width]) > 80).sum() > 200


def test_captions_and_lines_of_different_length():
    answers = [pictures(3), pictures(2)]
    figure = figures.retrieved(pictures(2), answers, captions=[["0.1", "0.2", "0.3"], ["0.4", "$_{"]])
    assert len(figure.axes[0].images) == 7
    assert {"0.1", "0.2", "0.3", "0.4", "$_{"} <= set(texts(figure))
    assert figures.render(figure, "svg")  # a dollar is a dollar: no formula is parsed


def test_answers_of_another_shape_keep_their_proportions():
    figure = figures.retrieved(pictures(1, 30, 30), [pictures(2, 10, 40, 3)])
    left, right, bottom, top = figure.axes[0].images[1].get_extent()
    assert (right - left) / (bottom - top) == pytest.approx(4)


@pytest.mark.parametrize(
    ("queries", "answers", "more", "said"),
    [
        (2, [3], {}, "2 queries but answers for 1"),
        (2, [3, 3], {"right": np.ones((1, 3), bool)}, "2 queries but right for 1"),
        (1, [3], {"right": np.ones((1, 2), bool)}, r"right\[0\] has 2 entries for 3 answers"),
        (1, [3], {"captions": [["a"]]}, r"captions\[0\] has 1 entries for 3 answers"),
        (1, [0], {}, r"answers\[0\]: there is no image"),
        (0, [], {}, "queries: there is no image"),
        (1, [101], {}, "up to 100"),
        (101, [1] * 101, {}, "up to 100"),
    ],
)
def test_answers_that_do_not_fit_their_queries_are_refused(queries, answers, more, said):
    with pytest.raises(UsageError, match=said):
        figures.retrieved(pictures(queries, 4, 4), [pictures(k, 4, 4) for k in answers], **more)


def test_the_callers_arrays_are_left_alone():
    queries, answers, right = pictures(2), [pictures(3), pictures(3)], np.array([[True] * 3, [False] * 3])
    given = [queries, *answers, right]
    before = [a.copy() for a in given]
    for a in given:
        a.flags.writeable = False
    figures.render(figures.retrieved(queries, answers, right=right), "png")
    figures.render(figures.denoising_pairs(queries, queries), "png")
    assert all(np.array_equal(a, b) for a, b in zip(given, before, strict=True))


# Curves

CURVES = {
    "article": [(10, 0.949), (100, 0.892), (1000, 0.769), (10000, 0.535), (60000, 0.367)],
    "tutorial": [(10, 0.958), (100, 0.912), (1000, 0.812), (60000, 0.370)],
    "pixels": [(60000, 0.372), (10, 0.969), (100, 0.920), (1000, 0.807)],
    "hog": [(10, 0.987), (60000, 0.568)],
}


def test_curves_are_drawn_in_order_of_n_on_a_log_axis():
    figure = line_charts.score_curves(CURVES)
    [ax] = figure.axes
    assert ax.get_xscale() == "log"
    for name, points in CURVES.items():
        drawn = line(figure, name)
        assert list(zip(drawn.get_xdata(), drawn.get_ydata(), strict=True)) == sorted(points)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["10", "100", "1,000", "10,000", "60,000"]
    low, high = ax.get_ylim()
    assert low <= 0.367
    assert high == 1


def test_lines_differ_by_colour_marker_and_dash():
    many = {f"encoder {i}": [(10, 0.9 - i / 50), (100, 0.5 + i / 50)] for i in range(9)}
    figure = line_charts.score_curves(many)
    drawn = [line(figure, name) for name in many]
    # Whatever two lines share, marker and dash together always differ, so grey print will do.
    assert len({(d.get_marker(), str(d._unscaled_dash_pattern)) for d in drawn}) == len(many)
    for a, b in combinations(drawn[:4], 2):
        assert a.get_color() != b.get_color()
        assert a.get_marker() != b.get_marker()


def overlaps(figure):
    """Pairs of texts whose boxes overlap on the finished figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [
        (t.get_text(), t.get_window_extent(canvas.get_renderer()))
        for t in [*figure.texts, *figure.axes[0].texts, *figure.axes[0].get_xticklabels()]
        if t.get_text()
    ]
    return [(a, b) for (a, box), (b, other) in combinations(boxes, 2) if box.overlaps(other)]


def test_names_stand_at_the_ends_and_do_not_overlap():
    same = {name: [(10, 0.9), (1000, 0.5)] for name in ("article", "tutorial", "pixels", "hog", "hog+adapt")}
    for curves in (CURVES, same):
        figure = line_charts.score_curves(curves)
        assert not overlaps(figure)
        for name in curves:
            assert sum(t.split("  ")[0] == name for t in texts(figure)) == 1


def test_heights_are_spread_as_little_as_needed():
    """Against brute force: no other spacing of the same order on a grid lies nearer to the wishes."""
    rng = np.random.default_rng(3)
    for _ in range(200):
        wanted = list(rng.random(int(rng.integers(1, 7))))
        gap = float(rng.choice([0.02, 0.1, 0.3]))
        got = line_charts._spread(wanted, gap, 0.0, 1.0)
        room = min(gap, 1 / max(1, len(wanted) - 1))
        assert min(got) > -1e-9
        assert max(got) < 1 + 1e-9
        assert np.all(np.diff(sorted(got)) > room - 1e-9)
        order = np.argsort(wanted, kind="stable")
        assert np.all(np.diff(np.array(got)[order]) > 0)
        cost = np.sum((np.array(got) - wanted) ** 2)
        for _ in range(20):  # random feasible rivals: sorted places plus the gaps
            spare = 1 - room * (len(wanted) - 1)
            rival = np.sort(rng.random(len(wanted))) * spare + room * np.arange(len(wanted))
            assert cost <= np.sum((rival - np.array(wanted)[order]) ** 2) + 1e-9


def test_bands_hold_the_intervals_given():
    intervals = {"pixels": [(s - 0.02, s + 0.01) for _, s in CURVES["pixels"]]}
    figure = line_charts.score_curves(CURVES, intervals)
    [band] = figure.axes[0].collections
    corners = {(x, round(y, 6)) for x, y in band.get_paths()[0].vertices}
    for n, s in CURVES["pixels"]:
        assert {(n, round(s - 0.02, 6)), (n, round(s + 0.01, 6))} <= corners
    assert not line_charts.score_curves(CURVES).axes[0].collections


def test_one_point_and_perfect_scores_can_be_drawn():
    assert figures.render(line_charts.score_curves({"a": [(10, 1.0)], "b": [(10, 0.0)]}), "png")
    assert figures.render(line_charts.score_curves({"$a_{": [(1, 1.0), (7, 1.0)]}), "png")


@pytest.mark.parametrize(
    ("curves", "intervals", "said"),
    [
        ({}, None, "no curve"),
        ({"a": []}, None, "'a' needs points"),
        ({"a": [(0, 0.5)]}, None, "'a' needs points"),
        ({"a": [(10, float("nan"))]}, None, "'a' needs points"),
        ({"a": [(10, 0.5)]}, {"a": [(0, 1), (0, 1)]}, "1 points and 2 intervals"),
        ({"a": [(10, 0.5)]}, {"b": [(0, 1)]}, "'b' has 0 points and 1 intervals"),
    ],
)
def test_curves_that_cannot_be_drawn_are_refused(curves, intervals, said):
    with pytest.raises(UsageError, match=said):
        line_charts.score_curves(curves, intervals)


def epoch(i, loss, validation):
    return {"epoch": i, "loss": loss, "validation_loss": validation, "seconds": 2.5}


def test_training_curve_rings_the_best_epoch():
    figure = line_charts.training_curve([epoch(1, 0.3, 0.28), epoch(2, 0.2, 0.19), epoch(3, 0.1, 0.21)])
    assert list(line(figure, "training").get_ydata()) == [0.3, 0.2, 0.1]
    assert list(line(figure, "validation").get_ydata()) == [0.28, 0.19, 0.21]
    assert list(line(figure, "best").get_xydata()[0]) == [2, 0.19]
    assert line(figure, "training").get_marker() != line(figure, "validation").get_marker()
    assert any("3 in 8 s" in t and "epoch 2" in t for t in texts(figure))
    assert not overlaps(figure)


def test_training_curve_of_a_cut_short_run():
    one = line_charts.training_curve([epoch(1, 0.3, None)])
    assert [found.get_label() for found in one.axes[0].lines if found.get_label() == "validation"] == []
    assert list(line(one, "best").get_xydata()[0]) == [1, 0.3]
    gaps = line_charts.training_curve([epoch(1, 0.3, 0.2), epoch(2, 0.2, None), epoch(3, float("nan"), None)])
    assert list(line(gaps, "best").get_xydata()[0]) == [1, 0.2]
    assert figures.render(one, "png")
    assert figures.render(gaps, "png")
    for history in ([], [epoch(1, float("nan"), None)]):
        with pytest.raises(UsageError, match="no epoch has a finite loss"):
            line_charts.training_curve(history)


# Files


@pytest.mark.parametrize(
    ("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG")]
)
def test_figures_are_written_by_suffix_and_the_same_each_time(tmp_path, suffix, magic):
    figure = figures.denoising_pairs(pictures(2), pictures(2))
    paths = [figures.save(figure, tmp_path / "new" / f"{i}{suffix}") for i in "ab"]
    a, b = (p.read_bytes() for p in paths)
    assert a.startswith(magic)
    assert a == b


@pytest.mark.parametrize("name", ["figure.gif", "figure", "figure.pngx"])
def test_an_unknown_suffix_lists_the_known(tmp_path, name):
    with pytest.raises(UsageError, match=r"\.pdf, \.png, \.svg"):
        figures.save(figures.denoising_pairs(pictures(1), pictures(1)), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of a file, which Windows can't")
def test_a_failed_write_leaves_the_old_figure(tmp_path):
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    done = run(
        "import resource, numpy as np\n"
        "from lookalike.reports import figures as plots\n"
        "figure = plots.denoising_pairs(*[np.zeros((1, 4, 4), np.uint8)] * 2)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\n"  # the disk is full after 500 bytes
        f"plots.save(figure, {str(path)!r}, overwrite=True)\n"
    )
    assert f"LookalikeError: {path}: the figure can't be written: File too large; free space" in done.stderr
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["figure.png"]


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(LookalikeError, match="can't be written"):
        figures.save(figures.denoising_pairs(pictures(1), pictures(1)), tmp_path / "file" / "figure.png")


def test_a_vector_figure_keeps_the_very_pixels():
    noisy, denoised = pictures(3), pictures(3)
    svg = figures.render(figures.denoising_pairs(noisy, denoised), "svg").decode()
    inside = re.findall(r"data:image/png;base64,([^\"]+)", svg)
    found = [np.asarray(Image.open(BytesIO(base64.b64decode(i))).convert("L")) for i in inside]
    assert [f.shape for f in found] == [(28, 28)] * 6
    for image, kept in zip([*noisy, *denoised], found, strict=True):
        assert np.array_equal(kept, image)
    assert svg.count("image-rendering:pixelated") == 6


def run(code):
    environment = os.environ | {"PYTHONPATH": str(Path(figures.__file__).parents[2])}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_no_pyplot_and_no_matplotlib_until_a_figure_is_drawn():
    done = run(
        "import sys, numpy as np\n"
        "from lookalike.reports import figures as plots, html\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plots.render(plots.denoising_pairs(*[np.zeros((1, 4, 4), np.uint8)] * 2), 'png')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    assert done.returncode == 0, done.stderr


def test_a_missing_matplotlib_says_what_to_type():
    done = run(
        "import sys, numpy as np\n"
        "sys.modules['matplotlib'] = None\n"
        "from lookalike.reports import line_charts\n"
        "line_charts.score_curves({'a': [(10, .5)]})\n"
    )
    assert done.returncode == 1
    assert (
        "UsageError: drawing figures needs packages that aren't installed; type: pip install 'lookalike[plots]'"
        in done.stderr
    )


# One size for all ---------------------------------------------------------------------------------------------------


def test_pictures_of_any_shape_become_tiles_that_show_them_whole():
    wide, tall, grey = (
        np.full((10, 40, 3), 9, np.uint8),
        np.full((300, 100, 3), 7, np.uint8),
        np.full((5, 5), 3, np.uint8),
    )
    tiles = figures.as_tiles([wide, tall, grey], side=64)
    assert tiles.shape == (3, 64, 64, 3)
    rows, columns = np.nonzero((tiles[0] == 9).all(-1))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1, rows.min()) == (16, 64, 24)
    rows, columns = np.nonzero((tiles[1] == 7).all(-1))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (64, 21)
    assert (tiles[2] == 3).all()
    assert (tiles[0][0] == 255).all()


def test_small_pictures_of_one_shape_stay_as_they_are():
    digits = [np.full((28, 28), n, np.uint8) for n in range(3)]
    np.testing.assert_array_equal(figures.as_tiles(digits), np.stack(digits))
