"""The table of docs/choices.md: what decides what a user gets, its value read from the code, and how it was chosen."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import lookalike
from lookalike.selection.recipes import Recipe
from lookalike.transforms.families import Family

ROOT = Path(__file__).resolve().parents[2]
SOURCES = Path(lookalike.__file__).parent
YES, NO, UNKNOWN = "yes", "no", "not known"
NAMES = "kinds only"  # which collection is of what kind was known, and no image's label was used


@dataclass(frozen=True)
class Choice:
    """Constants of one file, or a rule, that decide something a user gets.

    Attributes
    ----------
    file : str
        Below ``src/lookalike``, or from the root of the repository.
    names : str
        Constants, parameters as ``Class(parameter)``, and rules as ``function()``, a blank between two.
    decides : str
        What of a user's.
    how : str
        How the value was found.
    on : str
        On what.
    sight : str
        Whether labels were in sight: ``YES``, ``NO``, or ``NAMES``.
    wants : str
        What it would take to justify it without labels; empty where it needs nothing more.
    """

    file: str
    names: str
    decides: str
    how: str
    on: str
    sight: str
    wants: str = ""

    def line(self) -> str:
        """Return the row of the table."""
        named = "; ".join(self._named(name) for name in self.names.split())
        sight = "**yes**" if self.sight == YES else self.sight
        return f"| {self.decides} | {named} `{self.file}` | {self.how} | {self.on} | {sight} | {self.wants} |"

    def _named(self, name: str) -> str:
        value = self.value(name)
        return f"`{name}`" if value is None else f"`{name}` {value}"

    def value(self, name: str) -> str | None:
        """Return a value as the code has it, as text; None for a rule.

        Raises
        ------
        AttributeError
            The file has no such name.
        """
        if not (SOURCES / self.file).exists():
            return _in_script(ROOT / self.file, name)
        module = import_module("lookalike." + self.file.removesuffix(".py").replace("/", "."))
        if name.endswith("()"):
            getattr(module, name[:-2])
            return None
        owner, _, parameter = name.partition("(")
        found: Any = module
        for part in owner.split("."):
            found = getattr(found, part)
        if parameter:
            default = inspect.signature(found).parameters.get(parameter[:-1])
            if default is None:
                raise AttributeError(f"{self.file}: {owner} has no parameter {parameter[:-1]}")
            found = default.default
        return written(found)


def _in_script(path: Path, name: str) -> str | None:
    """Return the value of a constant of a script, which isn't imported, or None for one of its functions."""
    owner, _, last = name.removesuffix("()").rpartition(".")
    body = ast.parse(path.read_text(encoding="utf-8")).body
    if owner:
        body = next(node.body for node in body if isinstance(node, ast.ClassDef) and node.name == owner)
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == last:
            return None
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == last:
            return written(ast.literal_eval(node.value))
    raise AttributeError(f"{path.name} has no {name}")


def written(value: Any) -> str:
    """Write a value of the code."""
    if isinstance(value, Family):
        return f"{value.glyphs:g} / {value.photos:g}"
    if isinstance(value, Recipe):
        return value.name
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {written(v)}" for k, v in value.items())
    if isinstance(value, tuple | list):
        return ", ".join(written(v) for v in value)
    if isinstance(value, Path):
        return value.name
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


_EYES = "the collections of [eyes.csv](encoders.md#the-default) but the museum's"
_JUDGED = "the 21 collections of [the judge](adapt.md#how-it-was-judged)"
_MUSEUM = "museum paintings, with the right answers of their queries"
_PAPER = "as in its paper"
_JUDGEMENT = "by judgement"
_LEVEL = "a level of error: nothing is fitted"

CHOICES: dict[str, list[Choice]] = {
    "choices-default": [
        Choice("selection/defaults.py", "default_encoder() LOOKED_AT", "`hog` or `neural`", _JUDGEMENT, _EYES, YES, "the self-test between the two; it is the judge's view of 400 images, so too slow at each first index"),
        Choice("selection/defaults.py", "TINY SMALL", "sizes up to which grey images are glyphs", _JUDGEMENT, "USPS is of 16 pixels, MNIST and Quick, Draw! of 28", YES, "the same"),
        Choice("selection/defaults.py", "GREY_WITHIN GREY_SHARE", "whether images are grey", _JUDGEMENT, "", NO, "scans and JPEG of known grey originals"),
        Choice("transforms/grounds.py", "PLAIN_WITHIN PLAIN_SHARE", "whether the ground is plain; also which augmentations, and walls", _JUDGEMENT, "", NO, "images of known grounds; a frame round every image misleads it"),
        Choice("transforms/grounds.py", "FILLED HALF_TONES", "whether figures are glyphs or pictures of things", "between what glyphs and what objects have", _EYES, NAMES, "collections set aside"),
        Choice("selection/defaults.py", "DESKEW_GAIN TRIED MIN_TRIED", "`hog` or `hog:deskew=true`", "between what handwriting gains and what others do", _EYES, YES, "handwriting and drawings set aside"),
        Choice("selection/neighbour_metric.py", "NEIGHBOURS POWER SHRINK WEIGHT", "the default post-processing", "best mean scores; a wide range gives nearly the same", _EYES, YES, "collections set aside: the judge can't tell recipes of one encoder apart"),
        Choice("selection/neighbour_metric.py", "MIN_RATIO", "when only the mean is taken off", "above random descriptors, below all collections", "random numbers; " + _EYES, NAMES, "nothing: random descriptors alone set it"),
        Choice("selection/neighbour_metric.py", "MAX_LENGTH LEADING", "length of a descriptor", "scores were hardly lower with half of it; figures not kept", _EYES, YES, "the share of variance kept"),
        Choice("selection/neighbour_metric.py", "MIN_ROWS MAX_ROWS ALIKE", "when, and from how many images, it is learnt", _JUDGEMENT + ", and by cost", "", NO),
        Choice("index/learn_post.py", "GROWN FEW", "when it is learnt again", "what a half has learnt, on all", _EYES, YES, "how much neighbours change when it is learnt again"),
        Choice("encoders/neural.py", "PAIR FAST", "the networks of `neural`, side by side with equal weight", "best mean scores of the few that are free and in reach", "the twelve labelled collections", YES, "another person's benchmark of networks"),
        Choice("scripts/convert_efficientnet.py", "place_weights()", "pooling: half even, half a Gaussian about the middle", "best mean scores", "the twelve labelled collections", YES, "a prior that needs none, if it is believed"),
        Choice("encoders/onnx/preprocessing.py", "IMAGENET_MEAN IMAGENET_STD", "what networks see", "those that networks are trained with", "", NO),
    ],
    "choices-verdict": [
        Choice("selection/recipes.py", "RECIPES PCA_DIMENSION", "what `--adapt` and `compare` try", "what wasn't worse on average", _JUDGED, YES, "it is a list; each is judged anew"),
        Choice("selection/judge.py", "predict()", "the expected gain: coefficients in `judge.json`", "ridge regression on gains by labels", _JUDGED, YES, "a judge without labels: none was found; each collection is left out for the figures"),
        Choice("benchmarks/candidates.py", "Ridge.DRAWN", "how far coefficients are drawn to zero", _JUDGEMENT + ", the results known", _JUDGED, YES, "choosing it within each left-out round"),
        Choice("selection/judge.py", "FIGURES LEAST_APART REFERENCE", "what the judge looks at", _JUDGEMENT, _JUDGED, YES, "the same"),
        Choice("selection/judge.py", "pick() WIDTH MAY_LOSE", "when the default is left", _LEVEL, "", NO),
        Choice("selection/adapt.py", "SAMPLE QUERIES", "how many images are judged on", "by cost", "", NO),
        Choice("selection/held_out.py", "GROUPS VIEWED MIN_IMAGES", "the views", _JUDGEMENT, "", NO, "photographs of the same thing taken twice"),
        Choice("selection/selftest.py", "LISTS SHARES", "lengths of compared lists", _JUDGEMENT, "", NO),
        Choice("selection/neighbourhood.py", "NEIGHBOURS", "the same", _JUDGEMENT, "", NO),
        Choice("transforms/families.py", "FAMILIES", "augmentations (glyphs / photos): self-tests, `deep`, `contrastive`", "the most that leaves an image what it was, to the eye", "digits and photos", NO, "the changes between photographs of the same thing"),
        Choice("transforms/views.py", "KEPT ASKEW WALL TINT", "the scene: self-tests, rejection, `auto`", "made like the walls of the museum's queries", _MUSEUM, YES, "photographs of walls that nobody scores on. So `auto`'s win there is no proof"),
    ],
    "choices-search": [
        Choice("neighbors/diffusion.py", "ALPHA NEIGHBOURS SCALE_AT", "`diffusion`", "best scores; chosen again below", "Corel-1k, 1,000 training digits of MNIST", YES, "see below"),
        Choice("neighbors/diffusion.py", "ALPHA_UP_TO MOST_ALPHA", "the same: how far in larger collections", "the root of the size; see below", "MNIST's training digits", YES, "several large collections"),
        Choice("neighbors/diffusion.py", "STARTS normalised_weights()", "the same: where it starts, the degree's fourth root", "best scores; starts chosen again below", "Corel-1k, 1,000 training digits of MNIST", YES, "see below"),
        Choice("neighbors/diffusion.py", "DIRECTIONS LOCAL_TERMS", "its error", "by cost; the error is bounded", "", NO),
        Choice("search/rerank/diffusion.py", "Diffusion(first)", "`diffusion`: plain answers that stay first", "no loss of P@1; see below", "the twelve, Corel-1k", YES, "a judge of which of two first answers is right"),
        Choice("search/rerank/diffusion.py", "PLAIN", "the order of what diffusion doesn't reach", _JUDGEMENT, "", NO),
        Choice("search/rerank/k_reciprocal.py", "KReciprocal(k) KReciprocal(few) KReciprocal(plain)", "`k-reciprocal`", _PAPER, "", NO),
        Choice("search/rerank/query_expansion.py", "QueryExpansion(k) AlphaQueryExpansion(alpha)", "`query-expansion`", _PAPER, "", NO),
        Choice("search/rerank/multi_view.py", "CENTRES CORNER MultiView(kinds) MultiView(by)", "`multi-view`", _JUDGEMENT, "", NO),
        Choice("encoders/keypoints.py", "SIDE POINTS CONTRAST RATIO GUESSED_WITHIN FITTED_WITHIN APART MAX_SCALE", "inliers of `geometric`", _JUDGEMENT + ", the results known", _MUSEUM, YES, "own images in a scene against other images: the same count without labels"),
        Choice("encoders/keypoints.py", "VERIFIED", "when a painting is *verified*", _JUDGEMENT + ", the results known", _MUSEUM, YES, "inliers between different images of the collection, which needs no label"),
        Choice("search/rerank/geometric.py", "DEPTH WIDER QUERY_SIDE SHOWN", "how many images are checked, and how large", _JUDGEMENT + ", the results known", _MUSEUM, YES, "rank of own images shown in a scene"),
        Choice("search/page.py", "MAX_VERIFIED", "*Nothing here shows the same thing*", _LEVEL + "; its value by judgement", _MUSEUM, YES),
        Choice("search/rerank/auto.py", "TRIED HELD_OUT LOOKED_AT SMALLEST SIDE", "what `auto` tries, and on what", _JUDGEMENT + ", and by cost", "", NO),
        Choice("search/rerank/auto.py", "CATEGORIES_FROM SHARE", "which figure `auto` goes by", _JUDGEMENT + ", its choices on labelled collections known", "Corel-1k, MNIST, museum", YES, "a test for categories without labels; none is known to be right"),
        Choice("search/calibration.py", "SAMPLE MIN_PAIRS OWN", "the p-value", "the error of a count", "", NO),
        Choice("search/calibration.py", "LEVEL DEPTH SHALLOWEST COPY", "the gap", _LEVEL, "", NO),
        Choice("search/calibration.py", "FAR BULK_LEVEL", "rejection: both reasons", _LEVEL, "", NO),
        Choice("search/rejection.py", "WRONG RIGHT SEEN MORE_OFTEN", "whether reason 2, and the gap, are believed here", "a level of error, set by judgement with the results known", "[the queries of searching.md](searching.md#rejection-measured)", YES, "the user's own price of either error"),
        Choice("search/rejection.py", "VIEWS CUT", "the views that it is measured on", _JUDGEMENT + ", and by cost", "", NO, "photographs of the same thing taken twice"),
        Choice("search/compose.py", "SHOWN LIKED DISLIKED", "likes and dislikes", "Rocchio's, as textbooks give them", "", NO),
        Choice("search/tags.py", "FITS KEPT NEIGHBOURS MAX_SMOOTHED RARER GUESSED", "words for what a network sees: what counts, and how much", "best scores of eight words; the rest by judgement", "Corel-1k; cifar10, corel80 and stamps looked at for `RARER`", YES, "pictures without labels whose captions are known"),
        Choice("search/tags.py", "FITS_BESIDE SEEN SURE SPECIAL MOST COMMON LEAST_IMAGES", "the same as a filter, and what is shown", _JUDGEMENT + ", photos looked at", "Corel-1k, imagenette", YES),
        Choice("encoders/class_head.py", "LENGTHS", "the same: how sure the networks are", "what fits the networks' own answers", "Corel-1k, without labels", NO),
        Choice("search/keywords.py", "K1 B", "words", "the usual of BM25", "", NO),
        Choice("search/keywords.py", "SHORTEST", "from how many letters a word may stand for another", _JUDGEMENT, "", NO),
        Choice("search/likeness.py", "SAME_SHARE VERY_SHARE ALIKE_SHARE", "*same picture*, *very alike*, *alike*", _JUDGEMENT + ", their pictures in sight", "Corel-1k, MNIST, museum", NO, "people's own words for pairs of pictures"),
        Choice("neighbors/ivf.py", "FLOOR CUTS", "approximate search: how much may be missed", "a goal; measured on the index itself", "", NO),
        Choice("neighbors/ivf_build.py", "_MIN_LISTS _MAX_LISTS _TRAIN_PER_LIST _TURNS _SAMPLE", "its lists; what it may miss is measured after", "by time", "", NO),
        Choice("index/vectors.py", "CROSSOVER_BYTES", "from which size it is used unasked", "by time", "", NO),
        Choice("index/graph.py", "UNASKED", "up to which size a graph is made unasked", "by time", "", NO),
        Choice("search/restore.py", "MAX_IMAGES MAX_PATCHED", "`--denoise auto`: what it learns from", "by cost", "", NO),
        Choice("transforms/wiener.py", "NEIGHBORS ITERATIONS COMPONENTS", "`--denoise auto` on small images", "least squared error", "held-out training digits", NO),
        Choice("transforms/wiener.py", "PATCH STEP GROUPS FLAT", "`--denoise auto` on photos", "least squared error; size of patches by judgement", "photos of Corel-1k", NO),
        Choice("transforms/restorer.py", "LEVELS MEASURED TRIED TRIED_LEVEL MIN_IMAGES", "its steps of noise, and the choice of the form", _JUDGEMENT, "", NO),
        Choice("neighbors/embedding2d.py", "ATTRACTING DRAWN REPELLING A B EPOCHS FARTHEST", "the map", _PAPER + "; epochs and steps by judgement", "", UNKNOWN, "trustworthiness"),
        Choice("neighbors/embedding2d.py", "START FEW_APART spectral_init()", "where it starts", "by principal components, several digits came apart", "60,000 digits, coloured by label", YES, "trustworthiness"),
        Choice("neighbors/embedding2d.py", "GRID PROMINENCE", "clusters of the map", _JUDGEMENT, "", UNKNOWN),
    ],
    "choices-encoders": [
        Choice("encoders/hog.py", "Hog(cells) Hog(bins)", "`hog`", "fixed beforehand", "", NO),
        Choice("encoders/hog.py", "bilinear_windows()", "its soft borders and gradient filter", "best scores of several", "three splits of MNIST's training digits", YES, "the self-test; for other images it wasn't tried"),
        Choice("encoders/hog.py", "MAX_SHEAR", "the steepest slant", "above the steepest digit", "MNIST", NO),
        Choice("encoders/color.py", "Color(grid) Color(space) LEVELS STRIPS", "`color`", "self-test over 30 variants, scores in sight", "Corel-1k, museum", YES, "the same, blind, now that ties are counted right"),
        Choice("encoders/local.py", "SAMPLE_IMAGES SAMPLE_KEYPOINTS Sift(points) Sift(pooling)", "`sift`, `surf`", _JUDGEMENT + "; words by papers", "", NO),
        Choice("encoders/itq.py", "Itq(bits) Itq(iterations)", "`itq`", _PAPER, "", NO),
        Choice("encoders/hashing.py", "Hashing(bits) Hashing(neighbours) Hashing(agreement) Hashing(drawing)", "`hashing`", "by a self-test that gave ties to the encoder", "MNIST's training digits", NO, "to be chosen again by today's self-test"),
        Choice("encoders/training/hash_network.py", "HIDDEN REPETITION NEIGHBOURLY", "its network", _JUDGEMENT, "", NO),
        Choice("encoders/contrastive.py", "Contrastive(loss) Contrastive(temperature) Contrastive(learning_rate)", "`contrastive`", "by the self-test", "10,000 training digits", NO),
        Choice("encoders/contrastive.py", "FILTERS LAST_SIDE BEFORE COMPARED NOISE Contrastive(dimension)", "its network", _JUDGEMENT + ", and by time", "", NO),
        Choice("encoders/training/contrastive_loss.py", "VICREG_WEIGHTS MIN_SHARE", "its loss; how slowly its mean weights move", _PAPER + "; the mean by judgement", "", NO),
        Choice("encoders/training/loop.py", "OPTIMIZERS", "learning rates: all training", "Adam's usual; the article's for Adadelta", "", NO),
        Choice("encoders/autoencoder.py", "FIRST_FILTERS MAX_FILTERS SMALLEST_MAPS Autoencoder(code) Autoencoder(noise)", "`autoencoder`, preset `deep`", "what it undoes by the self-test; sizes by judgement", "MNIST, Corel-1k", NO),
        Choice("encoders/fusion.py", "Fusion(weights)", "joined encoders: all alike", _JUDGEMENT, "", NO),
        Choice("collections/entries.py", "DEFAULT_SIDE", "the size that encoders without one of their own see", _JUDGEMENT, "", NO),
        Choice("imaging/decode.py", "_GAP", "how finely a large JPEG is decoded", "pixels hardly change", "photos", NO),
        Choice("imaging/encode.py", "THUMBNAIL_SIDE", "thumbnails", _JUDGEMENT, "", NO),
        Choice("reports/health.py", "K HUB SURE BLANK COPIES QUALITY", "what `info --health` lists", _PAPER + " (hubs); the rest by judgement", "", NO),
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Choices:
    """A table of choices."""

    choices: list[Choice]

    def render(self, _: Path) -> str:
        """Return it as Markdown."""
        head = "| decides | constant, its value, its file | how it was chosen | on what | labels in sight | what it would take to justify it without labels |"
        return "\n".join([head, "| --- " * 6 + "|", *(choice.line() for choice in self.choices)])
