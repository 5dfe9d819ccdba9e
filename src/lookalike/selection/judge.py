"""Label-free figures of candidates -> what each is expected to gain over the default by labels, and how surely.

No figure without labels says by itself which descriptors are best: a colour histogram finds its own copies and looks
perfect. So the judge begins from what an encoder and a post-processing did on labelled collections of the same look, and
lets the figures move that. It is a linear model of the difference to the default, of P@1 and of mAP: differences of figures,
effects of the encoder, the recipe and the look, drawn towards 0 (ridge regression, which is the mean of a Gaussian model
with random effects; A. Hoerl and R. Kennard, Technometrics 12(1), 1970). What a candidate can gain or lose is bounded by how
many neighbours it changes, so effects and the width of the interval grow with that share.

The coefficients are in ``judge.json``, made by ``benchmarks/candidates.py``, which also leaves each collection out in turn,
with all views of it, to see how far the judge can be trusted. Its results are the evidence that is printed with a verdict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lookalike.errors import unknown_name
from lookalike.selection.candidates import Candidate
from lookalike.selection.neighbourhood import agreement
from lookalike.selection.recipes import DEFAULT, UNCHANGED

#: The file of coefficients.
FILE = Path(__file__).with_name("judge.json")
#: The scores whose gain is predicted.
SCORES = ("P@1", "mAP")
#: The figures that are looked at, as differences to the default's.
FIGURES = (
    "reciprocal rank", "reciprocal rank in a scene", "reciprocal rank of halves",
    "reciprocal rank, moved", "reciprocal rank, toned", "reciprocal rank, coarse",
    "agreement@10", "agreement in a scene@10", "agreement of halves@10", "neighbour agreement@10",
    "category precision@10", "agreement@5%", "agreement in a scene@5%", "agreement of halves@5%",
    "neighbour agreement@5%", "category precision@5%", "reciprocity", "Jaccard index", "orphans", "hubness",
)  # fmt: skip
#: Added to the share of neighbours that differ: two samples of images with the same neighbours may differ by chance.
LEAST_APART = 0.05
#: The encoder that the others' neighbours are compared with, too, where it isn't the default.
REFERENCE = "neural"
#: Standard deviations to either end of an interval of 80 %.
WIDTH = 1.28


@dataclass(frozen=True)
class Gain:
    """What a candidate is expected to gain over the default.

    Attributes
    ----------
    mean : float
        The difference of the score; below 0 for a loss.
    low, high : float
        The interval that holds it in 80 of 100 cases.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})"

    def to_json(self) -> dict[str, float]:
        """Return the fields as plain numbers."""
        return asdict(self)


@dataclass(frozen=True)
class Aim:
    """What is searched for.

    Attributes
    ----------
    words : str
        What it is called in a sentence.
    figure : str
        The self-test's figure that is shown with it.
    score : str
        The score that decides: the highest expected gain wins, of those whose interval lies above 0.
    keeps : str
        A score that isn't expected to fall; empty for none.
    """

    words: str
    figure: str
    score: str
    keeps: str = ""


#: Aim -> what decides; see ``docs/adapt.md``.
AIMS = {
    "nearest": Aim("the nearest images", "self-retrieval MRR", "P@1"),
    "category": Aim("all images of the same category", "category precision@5%", "mAP", "P@1"),
    "both": Aim("the category, with the nearest images first", "category precision@5%", "mAP", "P@1"),
}
#: By aim, what the kept score may be expected to lose at most.
MAY_LOSE = {"nearest": 0.0, "category": 0.005, "both": 0.0}


def aim_named(name: str) -> Aim:
    """Return an aim by its name.

    Parameters
    ----------
    name : str
        ``nearest``, ``category`` or ``both``.

    Returns
    -------
    Aim

    Raises
    ------
    UsageError
        If it isn't known.
    """
    if name not in AIMS:
        raise unknown_name("aim", name, AIMS)
    return AIMS[name]


def look_of(default: str, colour: bool) -> str:
    """Return what the images look like, as far as the judge tells looks apart.

    Parameters
    ----------
    default : str
        The default encoder, which follows from the images' looks.
    colour : bool
        Whether there is colour.

    Returns
    -------
    str
        ``glyphs``, ``photos`` or ``grey photos``.
    """
    return "glyphs" if default.startswith("hog") else "photos" if colour else "grey photos"


def baseline(candidates: Sequence[Candidate], encoder: str) -> int:
    """Return where an encoder stands with what it would get by default.

    Parameters
    ----------
    candidates : sequence of Candidate
        Those of the encoder among them.
    encoder : str
        Its title.

    Returns
    -------
    int
        With the default post-processing; where that couldn't be learnt, with the mean taken off; else as it is.
    """
    own = {candidate.recipe: i for i, candidate in enumerate(candidates) if candidate.encoder == encoder}
    return next(own[recipe] for recipe in (DEFAULT.name, "centred", UNCHANGED.name) if recipe in own)


def features(
    candidate: Candidate, default: Candidate, look: str, reference: Candidate | None = None
) -> tuple[dict[str, float], dict[str, float]]:
    """Return what the judge looks at.

    Parameters
    ----------
    candidate, default : Candidate
        Of the same images.
    look : str
        What the images look like.
    reference : Candidate, optional
        That of ``REFERENCE``.

    Returns
    -------
    figures : dict of str to float
        Differences of figures without labels.
    effects : dict of str to float
        What the candidate is; each the share of neighbours that differ from the default's.
    """
    apart = 1 - agreement(candidate.near, default.near)
    figures = {name: candidate.figures.get(name, 0.0) - default.figures.get(name, 0.0) for name in FIGURES}
    figures["other neighbours"] = apart
    if reference is not None and len({candidate.encoder, default.encoder, REFERENCE}) == 3:
        figures["agreement with the networks"] = agreement(candidate.near, reference.near) - agreement(
            default.near, reference.near
        )
    return figures, effects_of(candidate.encoder, candidate.recipe, default.encoder, look, apart)


def effects_of(encoder: str, recipe: str, default: str, look: str, apart: float) -> dict[str, float]:
    """Return what a candidate is, as :func:`features` has it.

    Parameters
    ----------
    encoder, recipe : str
        The candidate's.
    default : str
        The default's encoder.
    look : str
        What the images look like.
    apart : float
        The share of neighbours that differ from the default's.

    Returns
    -------
    dict of str to float
    """
    names = [f"recipe {recipe}", f"recipe {recipe} on {look}", f"recipe {recipe} of {encoder}"]
    if encoder == default:
        names.append(f"recipe {recipe} of the default")
    else:
        names += [f"encoder {encoder}", f"encoder {encoder} on {look}"]
    return dict.fromkeys(names, apart + LEAST_APART)


def predict(candidates: Sequence[Candidate], default: int, look: str) -> list[dict[str, Gain]]:
    """Predict what candidates gain over one of them.

    Parameters
    ----------
    candidates : sequence of Candidate
        Of the same images.
    default : int
        The place of the one that they are compared with.
    look : str
        What the images look like.

    Returns
    -------
    list of dict of str to Gain
        For each candidate by score; of the default itself nothing.
    """
    reference = None
    if any(candidate.encoder == REFERENCE for candidate in candidates):
        reference = candidates[baseline(candidates, REFERENCE)]
    made = []
    for i, candidate in enumerate(candidates):
        if i == default:
            made.append({score: Gain(0.0, 0.0, 0.0) for score in SCORES})
            continue
        figures, effects = features(candidate, candidates[default], look, reference)
        same = candidate.encoder == candidates[default].encoder
        made.append(
            {score: _gain(learnt()["scores"][score], candidate.encoder, same, figures, effects) for score in SCORES}
        )
    return made


def _gain(
    model: Mapping[str, Any], encoder: str, same: bool, figures: Mapping[str, float], effects: Mapping[str, float]
) -> Gain:
    mean = sum(value * model["figures"].get(name, 0.0) for name, value in figures.items())
    mean += sum(value * model["effects"].get(name, 0.0) for name, value in effects.items())
    known = f"encoder {encoder}" in model["effects"]
    spread = model["spread"]["same encoder" if same else "known encoder" if known else "unknown encoder"]
    wide = WIDTH * spread * (figures["other neighbours"] + LEAST_APART)
    return Gain(float(mean), float(mean - wide), float(mean + wide))


def pick(gains: Sequence[Mapping[str, Gain]], default: int, aim: str) -> int:
    """Pick by an aim what is surely better than the default, or the default.

    Parameters
    ----------
    gains : sequence of mapping of str to Gain
        What :func:`predict` returned.
    default : int
        The place of the default among them.
    aim : str
        ``nearest``, ``category`` or ``both``.

    Returns
    -------
    int

    Raises
    ------
    UsageError
        If the aim isn't known.

    Examples
    --------
    >>> none, sure, unsure = (Gain(0, 0, 0), Gain(0.03, 0.01, 0.05), Gain(0.05, -0.01, 0.11))
    >>> pick([{"P@1": none}, {"P@1": unsure}, {"P@1": sure}], 0, "nearest")
    2
    """
    wanted = aim_named(aim)
    sure = [
        i
        for i, gain in enumerate(gains)
        if gain[wanted.score].low > 0 and (not wanted.keeps or gain[wanted.keeps].mean >= -MAY_LOSE[aim])
    ]
    return max(sure, key=lambda i: gains[i][wanted.score].mean, default=default)


def evidence(aim: str, of: str = "compare") -> str:
    """Say how good such choices were on collections with labels that had no part in the judge.

    Parameters
    ----------
    aim : str
        ``nearest``, ``category`` or ``both``.
    of : str
        ``compare`` for a choice between encoders, ``adapt`` for one between the post-processings of an encoder.

    Returns
    -------
    str
        One sentence or two.
    """
    found = learnt()["evidence"][of][aim]
    return (
        f"On {found['collections']} collections with labels, each left out in turn, such a choice was within .02 of the best "
        f"{AIMS[aim].score} in {found['within .02']} of {found['cases']} cases; at worst it lost {found['greatest loss']:.2f}. "
        f"Against the default it gained {found['mean gain']:+.3f} on average, and at worst {found['least gain']:+.3f}."
    )


@cache
def learnt() -> dict[str, Any]:
    """Return the coefficients and the evidence, as ``judge.json`` has them."""
    read: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return read
