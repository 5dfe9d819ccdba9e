"""Which sources each study measures: where they change, its figures may be stale, and ``make check`` says so.

Paths below ``src/lookalike``. Only what decides a figure is named: the reading of arguments, say, isn't.
"""

from __future__ import annotations

_POST = ["encoders/postprocess.py", "selection/neighbour_metric.py", "selection/recipes.py", "selection/scatter.py"]
_SCORES = ["metrics"]
_EXACT = ["neighbors/exact.py", "neighbors/shortlist.py", "neighbors/tiling.py", "neighbors/distances"]
_HOG = ["encoders/hog.py"]
_NEURAL = ["encoders/neural.py", "encoders/onnx/image_model.py", "encoders/onnx/preprocessing.py", "imaging/resize.py"]
_TRAINING = ["encoders/training"]
_JUDGING = [
    "encoders", "transforms/augmentations.py", "transforms/families.py", "transforms/views.py",
    "selection/candidates.py", "selection/defaults.py", "selection/held_out.py", "selection/judge.py", "selection/neighbourhood.py",
    "selection/selftest.py", *_POST,
]  # fmt: skip
_INDEXING = ["collections", "imaging", "index/sync", "index/build.py", "index/rows.py", "index/lance_store.py"]

_SOURCES: dict[str, list[str]] = {
    "article": ["encoders/autoencoder.py", "transforms/noise.py", *_TRAINING, *_EXACT, *_SCORES],
    "autoencoder": ["encoders/autoencoder.py", *_TRAINING, *_EXACT, *_SCORES, *_POST],
    "candidates": _JUDGING,
    "candidates-left-out": _JUDGING,
    "candidates-left-out-adapt": _JUDGING,
    "codes": ["encoders/itq.py", "encoders/hashing.py", "encoders/codes.py", *_HOG, *_POST, "neighbors/hamming_scan.py"],
    "contrastive": ["encoders/contrastive.py", "transforms/families.py", "selection/selftest.py", *_TRAINING, *_EXACT, *_SCORES],
    "costs": ["encoders"],
    "diffusion": ["neighbors/diffusion.py", "search/rerank/diffusion.py", *_HOG, *_NEURAL, *_POST],
    "encoding": ["encoders/autoencoder.py", "encoders/trained.py", "encoders/onnx/export.py", "encoders/onnx/runtime.py"],
    "eyes": ["selection/defaults.py", *_POST, *_HOG, *_NEURAL, *_EXACT, *_SCORES],
    "hamming": ["neighbors/hamming_scan.py", "neighbors/distances/hamming.py", *_HOG],
    "hog": _HOG,
    "indexing": _INDEXING,
    "libraries": [
        "reports/html.py", "client/http.py", "server/fetching.py", "server/guard.py", "search/filters.py", "search/keywords.py",
        "progress.py", "imaging/sandbox", "imaging/encode.py", "neighbors/ivf.py", "neighbors/ivf_build.py",
        "neighbors/ivf_scan.py", "neighbors/embedding2d.py", "encoders/onnx/export.py", "encoders/onnx/feature_maps.py",
        "encoders/training/loop.py", "encoders/keypoints.py", "transforms/noise.py",
    ],
    "many": [*_INDEXING, "search/engine.py", "server"],
    "map": ["neighbors/embedding2d.py", "neighbors/diffusion.py"],
    "map-frames": ["server/map_points.py", "index/map.py"],
    "mnist-scores": ["encoders/pixels.py", "selection/defaults.py", *_HOG, *_POST, *_EXACT, *_SCORES],
    "neural": _NEURAL,
    "noise": ["transforms/restorer.py", "transforms/wiener.py", "transforms/noise.py", "search/restore.py", *_HOG, *_SCORES],
    "nothing": [
        "search/calibration.py", "search/rejection.py", "search/learnt.py", "search/page.py", "search/rerank/geometric.py",
        "encoders/keypoints.py", "transforms/views.py", *_NEURAL,
    ],
    "rerank": ["search/rerank", "neighbors/diffusion.py", "encoders/keypoints.py", *_POST],
    "scoring": [*_EXACT, *_SCORES],
    "search-packed": [*_EXACT, "neighbors/hamming_scan.py"],
    "search": [*_EXACT, "neighbors/hamming_scan.py", "neighbors/ivf.py", "neighbors/ivf_build.py", "neighbors/ivf_scan.py"],
    "serving": ["server", "search/engine.py", "search/page.py"],
    "startup": ["cli", "index/reader.py", "index/reopen.py", "index/vectors.py", "search/engine.py"],
    "words": ["encoders/class_head.py", "encoders/concepts.py", "search/tags.py", "search/keywords.py", *_NEURAL, *_POST],
    "thumbnails": ["imaging/encode.py", *_INDEXING],
    "verified": ["encoders/keypoints.py", "encoders/local.py", "transforms/views.py"],
    "training": ["encoders/autoencoder.py", *_TRAINING],
}  # fmt: skip
# Tables that the scripts of others write, too.
_SOURCES |= {
    "contrastive-pilot": _SOURCES["contrastive"],
    "diffusion-first": _SOURCES["diffusion"],
    "diffusion-growth": _SOURCES["diffusion"],
    "noise-ranking": _SOURCES["noise"],
    "nothing-labelled": _SOURCES["nothing"],
    "search-processor": _SOURCES["search"],
}


def measured_by(table: str) -> str:
    """Return the paths of what a table of ``results`` measures, from the root of the repository; all sources where none are named."""
    paths = sorted(set(_SOURCES.get(table, [""])))
    return " ".join(f"src/lookalike/{path}".rstrip("/") for path in paths)
