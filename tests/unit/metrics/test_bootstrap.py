"""Bootstrap intervals: how wide they are, by the normal distribution that means of many values have."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.metrics.bootstrap import bootstrap_interval, bootstrap_percentiles

#: Standard deviations to either end of an interval of 95 %.
WIDE = 1.96


@pytest.mark.parametrize("of", [bootstrap_interval, lambda values: bootstrap_percentiles(values[:, None], 0)[:, 0]])
def test_an_interval_holds_95_of_100_means(of):
    values = np.repeat([0.0, 1.0], [100, 300])
    spread = np.sqrt(0.25 * 0.75 / 400)
    assert list(of(values)) == pytest.approx([0.75 - WIDE * spread, 0.75 + WIDE * spread], abs=0.15 * spread)


def test_several_means_are_over_the_same_queries():
    values = np.random.default_rng(0).random(50)
    low, high = bootstrap_percentiles(np.stack([values, 2 * values], axis=1), 3)
    assert (low[1], high[1]) == pytest.approx((2 * low[0], 2 * high[0]))
    again, _ = bootstrap_percentiles(values[:, None], 3)
    assert again[0] == pytest.approx(low[0])
