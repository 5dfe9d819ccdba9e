"""Several encoders and a sample of a collection -> candidates, what each is expected to gain, and the best for each aim.

:func:`compare` gives a :class:`Verdict`: a row for each encoder and post-processing, with its figures, its cost, its size and
what it is expected to gain over the default (:mod:`lookalike.selection.judge`), and a pick for each aim: the *nearest*
images, all images of the same *category*, or *both*. A pick is the default unless another is surely better.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.cores import one_thread_of_blas
from lookalike.encoders.base import Encoder
from lookalike.errors import CollectionError, LookalikeError, UsageError
from lookalike.neighbors.sampling import sample_rows
from lookalike.selection.adapt import QUERIES, SAMPLE
from lookalike.selection.candidates import Candidate, SharedEncoding, candidates_of, title_of
from lookalike.selection.held_out import Views, make_views
from lookalike.selection.judge import AIMS, SCORES, Gain, baseline, evidence, look_of, pick, predict
from lookalike.selection.recipes import RECIPES, UNCHANGED, Recipe
from lookalike.selection.selftest import SelfTest, paired_difference

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """One encoder with one post-processing.

    Attributes
    ----------
    encoder : str
        The encoder, with the parameters that aren't its defaults.
    recipe : str
        The post-processing.
    test : SelfTest
        Its figures.
    gains : dict of str to Gain
        By score: what it is expected to gain over the default.
    dimension, bytes : int
        Values of a descriptor, and the bytes they take in an index.
    seconds : float
        To encode one image here, post-processing included.
    learn_seconds : float
        To learn the post-processing.
    """

    encoder: str
    recipe: str
    test: SelfTest
    gains: dict[str, Gain]
    dimension: int
    bytes: int
    seconds: float
    learn_seconds: float

    @property
    def title(self) -> str:
        """The encoder, and its post-processing if it has one."""
        return self.encoder if self.recipe == str(UNCHANGED) else f"{self.encoder}, {self.recipe}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain numbers, lists and dictionaries."""
        return {
            "encoder": self.encoder,
            "recipe": self.recipe,
            "gains": {score: gain.to_json() for score, gain in self.gains.items()},
            **self.test.to_json(),
            "dimension": self.dimension,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "learn_seconds": self.learn_seconds,
        }


@dataclass(frozen=True)
class Verdict:
    """What :func:`compare` found.

    Attributes
    ----------
    images : int
        How many images were tried.
    families : dict of str to float
        The augmentations.
    rows : list of Row
        In the order they were tried: the default encoder's first.
    default : int
        The row of what one gets if nothing is named; the others' gains are over it.
    picks : dict of str to int
        Aim -> the position of the row to use.
    choices : dict of str to dict of str to int
        Aim -> encoder -> the position of its row with the post-processing that it would get for this aim.
    encoders : dict of str to Encoder
        Aim -> that encoder, ready to use.
    candidates : dict of str to Encoder
        By title: each encoder as it is, and where that is another with the post-processing that it would get for the
        nearest images.
    failed : dict of str to str
        By title: the encoders that couldn't be measured here, and why.
    stands_in_for : str or None
        The title of the real default, where that couldn't be measured and another is compared with.
    """

    images: int
    families: dict[str, float]
    rows: list[Row]
    default: int
    picks: dict[str, int]
    choices: dict[str, dict[str, int]]
    encoders: dict[str, Encoder] = field(repr=False)
    candidates: dict[str, Encoder] = field(repr=False)
    failed: dict[str, str] = field(default_factory=dict)
    stands_in_for: str | None = None

    def figure(self, aim: str) -> str:
        """Return the name of the self-test's figure that is shown with an aim."""
        return AIMS[aim].figure

    def sentence(self, aim: str) -> str:
        """Say what to use for an aim, what it is expected to gain, and how far to trust that.

        Parameters
        ----------
        aim : str
            ``nearest``, ``category`` or ``both``.

        Returns
        -------
        str
        """
        score, default, picked = AIMS[aim].score, self.rows[self.default], self.rows[self.picks[aim]]
        begun = f"For {AIMS[aim].words}, on these {self.images:,} images: "
        role = "the default"
        if self.stands_in_for is not None:
            role = f"as the default, {self.stands_in_for}, couldn't be measured"
        if picked is default:
            others = [row for row in self.rows if row is not default]
            nearest = max(others, key=lambda row: row.gains[score].mean, default=None)
            but = (
                "" if nearest is None else f"; the likeliest to be, {nearest.title}, has {score} {nearest.gains[score]}"
            )
            said = f"{begun}{default.title}, {role}. Nothing else that was tried is surely better{but}."
        else:
            said = f"{begun}{picked.title}. Expected against {default.title}, {role}: {score} {picked.gains[score]}."
        return f"{said} No label was read. {evidence(aim)} Check with a few queries of your own."

    def table(self) -> str:
        """Return each encoder with the post-processings that it would get, and what they are expected to gain, as text.

        Returns
        -------
        str
            Lines of equal columns: the default, each aim's pick and each encoder's choices, in the order they were tried. Then
            how many others were, and a line for each encoder that couldn't be measured.
        """
        shown = {self.default, *self.picks.values(), *(i for own in self.choices.values() for i in own.values())}
        header = ["encoder", "post-processing", *(f"{score} gain (80 %)" for score in SCORES), "size", "ms/image", ""]
        cells = [header]
        for i in sorted(shown):
            row, aims = self.rows[i], ", ".join(aim for aim, place in self.picks.items() if place == i)
            gains = ["" if i == self.default else str(row.gains[score]) for score in SCORES]
            marks = " ".join([*["default"] * (i == self.default), *[f"<- {aims}"] * bool(aims)])
            cells.append([row.encoder, row.recipe, *gains, str(row.dimension), f"{1e3 * row.seconds:.2f}", marks])
        widths = [max(len(line[i]) for line in cells) for i in range(len(header))]
        left = {0, 1, len(header) - 1}
        lines = [
            "  ".join(
                c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in cells
        ]
        others = len(self.rows) - len(shown)
        below = [f"{others} other post-processings were tried; --json has them"] * bool(others)
        below += [f"left out: {title}: {why}" for title, why in self.failed.items()]
        return "\n".join([*(line.rstrip() for line in lines), *below])

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain numbers, lists and dictionaries.

        Returns
        -------
        dict
            Keys ``images``, ``families``, ``rows``, ``default``, ``picks``, ``choices``, ``sentences``, ``failed`` and ``stands_in_for``. A choice
            has the paired test of its self-test's figure against the default's.
        """
        return {
            "images": self.images,
            "families": self.families,
            "rows": [row.to_json() for row in self.rows],
            "default": self.default,
            "picks": {aim: self._row_to_json(aim, i) for aim, i in self.picks.items()},
            "choices": {
                aim: {encoder: self._row_to_json(aim, i) for encoder, i in own.items()}
                for aim, own in self.choices.items()
            },
            "sentences": {aim: self.sentence(aim) for aim in self.picks},
            "failed": self.failed,
            "stands_in_for": self.stands_in_for,
        }

    def _row_to_json(self, aim: str, place: int) -> dict[str, Any]:
        row, figure, score = self.rows[place], self.figure(aim), AIMS[aim].score
        mean, low, high = paired_difference(row.test, self.rows[self.default].test, figure)
        return {
            "row": place,
            "encoder": row.encoder,
            "recipe": row.recipe,
            "score": score,
            "gain": row.gains[score].to_json(),
            "figure": figure,
            "paired": {"mean": mean, "low": low, "high": high},
        }


def compare(
    images: Images | Callable[[Encoder], Images],
    encoders: Sequence[Encoder],
    *,
    default: str | None = None,
    recipes: Sequence[Recipe] = RECIPES,
    families: Mapping[str, float] | Iterable[str] | None = None,
    sample: int = SAMPLE,
    queries: int = QUERIES,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Verdict:
    """Try encoders and post-processings on a sample of a collection, without labels.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3), or callable
        The collection; or a function that returns it at the size that an encoder wants, always in the same order.
    encoders : sequence of Encoder
        What to try; those that aren't fitted are fitted on the sample.
    default : str, optional
        The title of the one that is used if nothing is named; the others' gains are over it. Default: the first.
    recipes : sequence of Recipe
        Post-processings to try; packed codes are tried as they are.
    families : mapping of str to float, or iterable of str, optional
        The augmentations; by default what suits the images.
    sample : int
        Most images to try on.
    queries : int
        How many images are held out, at most a quarter of the sample.
    seed : int
        The same seed gives the same figures.
    progress : callable, optional
        Called with how many rows are done, and of how many at most. Interrupted in it, the verdict is over what was done.

    Returns
    -------
    Verdict

    Raises
    ------
    UsageError
        If no encoder is given, there are too few images, or a family isn't known.
    LookalikeError
        If no encoder can be measured: what the first one says. One of several that can't is left out, and named in
        ``failed``.
    """
    if not encoders:
        raise UsageError("there is no encoder to compare; name at least one, such as pixels, hog or color")
    with one_thread_of_blas(with_scipy=True):
        trials = _Trials(images, recipes, families, sample, queries, seed)
        # The default comes first: whoever interrupts has what the others are compared with.
        failed = trials.run(sorted(encoders, key=lambda encoder: title_of(encoder) != default), progress)
        tried = [candidate for candidate, _, _ in trials.done]
        titles = {candidate.encoder for candidate in tried}
        real = default or title_of(encoders[0])
        base = baseline(tried, real if real in titles else tried[0].encoder)
        look = look_of(default or tried[base].encoder, trials.colour)
        gains = predict(tried, base, look)
    rows = [
        _row(candidate, encoder, gain, seconds)
        for (candidate, encoder, seconds), gain in zip(trials.done, gains, strict=True)
    ]
    ready = [encoder.with_post(candidate.post) for candidate, encoder, _ in trials.done]
    picks = {aim: pick(gains, base, aim) for aim in AIMS}
    choices = {aim: _choices(tried, look, aim) for aim in AIMS}
    plain_rows = [i for i, row in enumerate(rows) if row.recipe == str(UNCHANGED)]
    return Verdict(
        trials.number,
        trials.families,
        rows,
        base,
        picks,
        choices,
        {aim: ready[i] for aim, i in picks.items()},
        {rows[i].title: ready[i] for i in (*plain_rows, *choices["nearest"].values())},
        failed,
        None if real in titles else real,
    )


class _Trials:
    """Measures encoders on views of a collection, which are made once for each size."""

    def __init__(
        self,
        images: Images | Callable[[Encoder], Images],
        recipes: Sequence[Recipe],
        families: Mapping[str, float] | Iterable[str] | None,
        sample: int,
        queries: int,
        seed: int,
    ) -> None:
        self.images, self.recipes, self.sample, self.queries, self.seed = images, recipes, sample, queries, seed
        self.asked = families
        self.families: dict[str, float] = {}
        self.number, self.colour = 0, False
        self.done: list[tuple[Candidate, Encoder, float]] = []
        self._views: dict[tuple[int, ...], Views] = {}
        self._encode = SharedEncoding()

    def run(self, encoders: Sequence[Encoder], progress: Callable[[int, int], None] | None) -> dict[str, str]:
        """Measure each encoder, and return by title why one can't be: it leaves no row. If none can, raise the first's error."""
        errors: dict[str, LookalikeError] = {}
        total = len(encoders) * len(self.recipes)
        for encoder in encoders:
            done = len(self.done)
            try:
                for _ in self._measure(encoder):
                    if progress:
                        progress(len(self.done), total)
            except CollectionError:  # the images can't be read, whatever the encoder
                raise
            except LookalikeError as e:
                errors[title_of(encoder)] = e
                del self.done[done:]
            except KeyboardInterrupt:
                del self.done[done:]
                if not self.done:
                    raise
                errors[title_of(encoder)] = UsageError("not measured, since the comparison was interrupted")
                break
        if not self.done:
            raise next(iter(errors.values()))
        return {title: str(e) for title, e in errors.items()}

    def _measure(self, encoder: Encoder) -> Iterator[Candidate]:
        shown = self.images(encoder) if callable(self.images) else self.images
        self.colour |= shown.ndim == 4
        if shown.shape not in self._views:
            shown_sample = shown[sample_rows(len(shown), self.sample, self.seed)]
            self._views[shown.shape] = make_views(shown_sample, self.asked, queries=self.queries, seed=self.seed)
        views = self._views[shown.shape]
        self.number, self.families = len(views.images), views.families
        # fit() forgets a post-processing, so it is only for those that know nothing yet.
        fitted = encoder if encoder.is_fitted else encoder.fit(views.images)
        few = views.images[:32]
        begun = time.perf_counter()
        fitted.with_post(None).encode(few)
        seconds = (time.perf_counter() - begun) / len(few)
        for candidate in candidates_of(fitted, views, self.recipes, encode=self._encode, seed=self.seed):
            self.done.append((candidate, fitted, seconds))
            yield candidate


def _row(candidate: Candidate, encoder: Encoder, gains: dict[str, Gain], seconds: float) -> Row:
    processed = encoder.with_post(candidate.post)
    width = processed.dimension_ * np.dtype(processed.dtype).itemsize
    return Row(
        candidate.encoder,
        candidate.recipe,
        candidate.test,
        gains,
        processed.dimension_,
        width,
        seconds,
        candidate.seconds,
    )


def _choices(tried: Sequence[Candidate], look: str, aim: str) -> dict[str, int]:
    """Choose within each encoder, as ``adapt`` does: its default post-processing, or what is surely better."""
    chosen = {}
    for title in dict.fromkeys(candidate.encoder for candidate in tried):
        own = [i for i, candidate in enumerate(tried) if candidate.encoder == title]
        base = own.index(baseline(tried, title))
        chosen[title] = own[pick(predict([tried[i] for i in own], base, look), base, aim)]
    return chosen
