"""Charts hold what they were given."""

from __future__ import annotations

import pytest

from lookalike.encoders.registry import create
from lookalike.errors import UsageError
from lookalike.reports import figures
from lookalike.selection.compare import compare
from lookalike.selection.robustness import robustness

pytest.importorskip("matplotlib", reason="charts are drawn; install lookalike[plots]")

from lookalike.reports import charts


@pytest.mark.slow
def test_costs_of_every_row_are_marked_and_the_pick_is_ringed(digits):
    verdict = compare(digits[0][:60], ["pixels", "hog"], sample=60)
    figure = charts.cost_chart(verdict)
    deciding = {verdict.figure(aim) for aim in verdict.picks}
    assert len(figure.axes) == 2 * len(deciding)
    sizes = figure.axes[1]
    marks = [line for line in sizes.lines if line.get_label() != "picked"]
    assert [line.get_label() for line in marks] == [row.title for row in verdict.rows]
    assert [line.get_xdata()[0] for line in marks] == [row.bytes for row in verdict.rows]
    assert [line.get_ydata()[0] for line in marks] == [row.gains["P@1"].mean for row in verdict.rows]
    picked = [line.get_xdata()[0] for line in sizes.lines if line.get_label() == "picked"]
    assert verdict.rows[verdict.picks["nearest"]].bytes in picked
    assert figures.render(figure, "png").startswith(b"\x89PNG")


def test_robustness_is_drawn_as_both_figures(digits):
    images = digits[0][:40]
    curves = {name: robustness(create(name).fit(images), images, ["turn"], queries=10) for name in ("pixels", "hog")}
    first, stays = charts.robustness_curves(curves, {"turn": "degrees"}).axes
    for ax, score in ((first, "first_hit"), (stays, "lrap_10_own")):
        assert {line.get_label() for line in ax.lines} == set(curves)
        for line in ax.lines:
            points = curves[line.get_label()]["turn"]
            assert list(line.get_xdata()) == [p.amount for p in points]
            assert list(line.get_ydata()) == [getattr(p, score) for p in points]
    with pytest.raises(UsageError, match="there is no curve to draw"):
        charts.robustness_curves({}, {})
