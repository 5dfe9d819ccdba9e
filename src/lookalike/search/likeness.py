"""The answers of a page -> in a word, how alike each is: the same picture, very alike, alike, or only the nearest there is."""

from __future__ import annotations

from collections.abc import Sequence

from lookalike.search.calibration import DistanceCalibration, PValue

#: The words, from most alike on.
SAME, VERY, ALIKE, REST = "same picture", "very alike", "alike", "the rest"
LEVELS = (SAME, VERY, ALIKE, REST)
#: The same picture is nearer than this share of the distance of a random pair.
SAME_SHARE = 0.02
#: Of random pairs, as many are at least as close as what is very alike, and as what is alike.
VERY_SHARE, ALIKE_SHARE = 1 / 300, 1 / 30


def likenesses(
    distances: Sequence[float],
    p_values: Sequence[PValue | None],
    are_verified: Sequence[bool],
    calibration: DistanceCalibration,
    *,
    before_gap: int,
    nothing: bool,
) -> list[str]:
    """Say how alike each answer of a page is.

    Parameters
    ----------
    distances : sequence of float
        Of the answers, in their order.
    p_values : sequence of PValue or None
        How rare each distance is.
    are_verified : sequence of bool
        Whether each shows the query's own details in the same arrangement.
    calibration : DistanceCalibration
        What distances mean here.
    before_gap : int
        How many of these answers are set apart from all others.
    nothing : bool
        Whether there seems to be nothing like the query.

    Returns
    -------
    list of str
        Of ``LEVELS``. An answer is never said to be more alike than one before it.
    """
    closest = SAME_SHARE * calibration.median
    levels, worst = [], 0
    for at, (distance, p_value, is_verified) in enumerate(zip(distances, p_values, are_verified, strict=True)):
        share = 1.0 if p_value is None else p_value.share
        if 0 <= distance <= closest:
            level = 0
        elif is_verified or (not nothing and share <= VERY_SHARE):
            level = 1
        else:
            level = 2 if not nothing and (at < before_gap or share <= ALIKE_SHARE) else 3
        worst = max(worst, level)
        levels.append(LEVELS[worst])
    return levels
