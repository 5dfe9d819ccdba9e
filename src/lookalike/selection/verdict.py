"""Several encoders and a sample of a collection -> their self-test figures, costs and the best for each aim, without labels.

:func:`compare` gives a :class:`Verdict`: a row for each encoder and post-processing, with its figures, its cost and its
size, and a pick for each aim: the *nearest* images, all images of the same *category*, or *both*. What the figures are worth was
measured on collections with labels (``benchmarks/verdict.py``); the verdict's sentence says no more than that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.base import Encoder
from lookalike.encoders.postprocess import Projection
from lookalike.errors import CollectionError, LookalikeError, UsageError
from lookalike.neighbors.sampling import sample_rows
from lookalike.selection.adapt import AIMS, RECIPES, UNCHANGED, Learner, Recipe, choose, prepare_material
from lookalike.selection.selftest import MAX_QUERIES, SelfTest, beats, prepare_trial, run_trial

Images = NDArray[np.uint8]

#: Images that encoders are tried on, at most.
SAMPLE = 2000


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
        In the order they were tried.
    picks : dict of str to int
        Aim -> the position of the row to use.
    encoders : dict of str to Encoder
        Aim -> that encoder, ready to use.
    candidates : dict of str to Encoder
        By title: each encoder as it is, and where that is another with the post-processing that it would get for the
        nearest images.
    failed : dict of str to str
        By title: the encoders that couldn't be measured here, and why.
    """

    images: int
    families: dict[str, float]
    rows: list[Row]
    picks: dict[str, int]
    encoders: dict[str, Encoder] = field(repr=False)
    candidates: dict[str, Encoder] = field(repr=False)
    failed: dict[str, str] = field(default_factory=dict)

    def figure(self, aim: str) -> str:
        """Return the name of the figure that decides for an aim."""
        return AIMS[aim].figure

    def sentence(self, aim: str) -> str:
        """Say in one sentence what to use for an aim, by how much, and how far to trust it.

        Parameters
        ----------
        aim : str
            ``nearest``, ``category`` or ``both``.

        Returns
        -------
        str
        """
        figure, pick = self.figure(aim), self.rows[self.picks[aim]]
        value = pick.test.figures[figure]
        # Only what the other encoders would themselves choose for this aim was in the running.
        others = [self.rows[i] for i in _choices(self.rows, aim) if self.rows[i].encoder != pick.encoder]
        said = f"For {AIMS[aim].words}, {pick.title} looks best on these {self.images:,} images: {figure} {value:.3f}"
        if others:
            second = max(others, key=lambda row: row.test.figures[figure])
            sure = beats(pick.test, second.test, figure)
            said += f", against {second.test.figures[figure]:.3f} of {second.title}"
            said += "" if sure else ", which is within chance"
        trust = AIMS[aim]
        return (
            f"{said}. No label was read; on {trust.collections} collections with labels this figure ordered encoders "
            f"with a rank correlation of {trust.lowest:.2f} to {trust.highest:.2f} to {trust.score}, so check with "
            "a few queries of your own."
        )

    def table(self) -> str:
        """Return the rows as text, each aim's pick marked.

        Returns
        -------
        str
            Lines of equal columns; the best figure first within an encoder is not implied. Then a line for each encoder
            that couldn't be measured.
        """
        aims = {aim: self.figure(aim) for aim in AIMS}
        named = dict.fromkeys((*aims.values(), "first hit"))
        header = ["encoder", "post-processing", *named, "size", "bytes", "ms/image", ""]
        cells = [header]
        for i, row in enumerate(self.rows):
            marks = [f"<- {AIMS[aim].words}" for aim, pick in self.picks.items() if pick == i]
            figures = [f"{row.test.figures[name]:.3f}" for name in named]
            costs = [str(row.dimension), str(row.bytes), f"{1e3 * row.seconds:.2f}"]
            cells.append([row.encoder, row.recipe, *figures, *costs, "  ".join(marks)])
        widths = [max(len(line[i]) for line in cells) for i in range(len(header))]
        left = {0, 1, len(header) - 1}
        lines = [
            "  ".join(
                c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in cells
        ]
        left_out = [f"left out: {title}: {why}" for title, why in self.failed.items()]
        return "\n".join([*(line.rstrip() for line in lines), *left_out])

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain numbers, lists and dictionaries.

        Returns
        -------
        dict
            Keys ``images``, ``families``, ``rows``, ``picks``, ``sentences`` and ``failed``.
        """
        picks = {
            aim: {"row": i, "encoder": self.rows[i].encoder, "recipe": self.rows[i].recipe, "figure": self.figure(aim)}
            for aim, i in self.picks.items()
        }
        return {
            "images": self.images,
            "families": self.families,
            "rows": [row.to_json() for row in self.rows],
            "picks": picks,
            "sentences": {aim: self.sentence(aim) for aim in self.picks},
            "failed": self.failed,
        }


def compare(
    images: Images | Callable[[Encoder], Images],
    encoders: Sequence[Encoder],
    *,
    recipes: Sequence[Recipe] = RECIPES,
    families: Mapping[str, float] | Iterable[str] | None = None,
    sample: int = SAMPLE,
    queries: int = MAX_QUERIES,
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
        Called with how many rows are done, and of how many at most.

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
    rows: list[Row] = []
    posts: list[tuple[Encoder, Projection | None]] = []
    named: dict[str, float] = {}
    number, total = 0, len(encoders) * len(recipes)

    def measure(encoder: Encoder) -> None:
        nonlocal number, named
        shown = images(encoder) if callable(images) else images
        shown = shown[sample_rows(len(shown), sample, seed)]
        number = len(shown)
        # fit() forgets a post-processing, so it is only for those that know nothing yet.
        encoder = encoder if encoder.is_fitted else encoder.fit(shown)
        plain = encoder.with_post(None)
        packed = np.dtype(encoder.dtype) != np.float32
        begun = time.perf_counter()
        plain.encode(shown)
        seconds = (time.perf_counter() - begun) / len(shown)
        learner = None
        if packed:
            trial = prepare_trial(plain, shown, families, queries=queries, seed=seed)
        else:
            material = prepare_material(plain, shown, families, queries=queries, each=True, seed=seed)
            trial, learner = material.trial, Learner(material, seed=seed)
        named = trial.families
        for recipe in (UNCHANGED, *(r for r in recipes if r != UNCHANGED and not packed)):
            begun = time.perf_counter()
            post = None if learner is None else learner.learn(recipe)
            learnt = time.perf_counter() - begun
            if post is not None or recipe == UNCHANGED:
                processed = plain if post is None else plain.with_post(post)
                begun = time.perf_counter()
                if post is not None:
                    post.apply(trial.database)
                applied = (time.perf_counter() - begun) / len(trial.database)
                width = processed.dimension_ * np.dtype(processed.dtype).itemsize
                test = run_trial(trial, post)
                rows.append(
                    Row(_title(encoder), str(recipe), test, processed.dimension_, width, seconds + applied, learnt)
                )
                posts.append((plain, post))
            if progress:
                progress(len(rows), total)

    failed = _failures(encoders, measure, rows, posts)
    picks = {aim: _pick(rows, aim) for aim in AIMS}
    chosen = {aim: posts[i][0].with_post(posts[i][1]) for aim, i in picks.items()}
    plain_rows = [i for i, row in enumerate(rows) if row.recipe == str(UNCHANGED)]
    candidates = {rows[i].title: posts[i][0].with_post(posts[i][1]) for i in (*plain_rows, *_choices(rows, "nearest"))}
    return Verdict(number, named, rows, picks, chosen, candidates, failed)


def _failures(
    encoders: Sequence[Encoder],
    measure: Callable[[Encoder], None],
    rows: list[Row],
    posts: list[tuple[Encoder, Projection | None]],
) -> dict[str, str]:
    """Measure each encoder, and return by title why one can't be: it leaves no row. If none can, raise the first's error."""
    errors: dict[str, LookalikeError] = {}
    for encoder in encoders:
        done = len(rows)
        try:
            measure(encoder)
        except CollectionError:  # the images can't be read, whatever the encoder
            raise
        except LookalikeError as e:
            errors[_title(encoder)] = e
            del rows[done:], posts[done:]
    if not rows:
        raise next(iter(errors.values()))
    return {title: str(e) for title, e in errors.items()}


def _choices(rows: Sequence[Row], aim: str) -> list[int]:
    """Choose within each encoder as ``adapt`` does."""
    chosen = []
    for encoder in dict.fromkeys(row.encoder for row in rows):
        own = {str(i): row.test for i, row in enumerate(rows) if row.encoder == encoder}
        chosen.append(int(choose(own, aim)[0]))
    return chosen


def _pick(rows: Sequence[Row], aim: str) -> int:
    """Take the encoder whose choice has the best figure."""
    return max(_choices(rows, aim), key=lambda i: rows[i].test.figures[AIMS[aim].figure])


def _title(encoder: Encoder) -> str:
    defaults = type(encoder)().params
    changed = [f"{k}={v}" for k, v in encoder.params.items() if v != defaults[k]]
    return f"{encoder.name} ({', '.join(changed)})" if changed else encoder.name
