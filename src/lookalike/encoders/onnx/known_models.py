"""Names of well-known models -> their files on Hugging Face's hub: a table, and what fetches and checks its rows.

What the table says comes from public pages, as they were stored when it was written (:data:`READ_ON`); nothing of it could
be tried out, since the hub couldn't be reached. A value that no page gives is left out, and named in ``unchecked``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lookalike.atomic import replace_file
from lookalike.encoders.onnx.model_files import HUB, ModelFiles, cache_folder, on_hub, read_file
from lookalike.errors import EncoderError, UsageError, first_line

#: When the pages were read.
READ_ON = "2026-11-30"

_SETTINGS = "preprocessor_config.json"
_TOKENIZER, _TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HF = "https://huggingface.co/"


@dataclass(frozen=True)
class KnownModel:
    """One row of the table.

    Attributes
    ----------
    repository, revision : str
        Owner and name on the hub, and the commit that is fetched: the one that the source shows.
    image, text : str
        The graphs of the two towers; ``text`` is empty where the model understands no words.
    megabytes : int or None
        What is fetched in all.
    license : str or None
        Of the weights.
    good_for : str
        In a few words.
    sources : tuple of str
        Pages that sizes, commit and licence were read from.
    unchecked : str
        What no page says, or says of another file.
    sha256 : mapping of str to str
        File -> hash, where public sources agree on it.
    tokenizer : mapping
        What ``tokenizer_config.json`` must say, whatever it says.
    """

    repository: str
    revision: str
    image: str
    megabytes: int | None
    license: str | None
    good_for: str
    sources: tuple[str, ...]
    text: str = ""
    unchecked: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)
    tokenizer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> tuple[str, ...]:
        """All that is fetched."""
        return (self.image, _SETTINGS, *((self.text, _TOKENIZER, _TOKENIZER_CONFIG) if self.text else ()))

    def __str__(self) -> str:
        size = "size unknown" if self.megabytes is None else f"{self.megabytes} MB"
        terms = "a licence that no page states" if self.license is None else f"licence {self.license}"
        return f"{HUB}{self.repository} ({', '.join(self.files)}; {size}; {terms})"


#: DINOv3 is left out: as far as we know its weights can't be fetched without an account.
KNOWN: dict[str, KnownModel] = {
    "siglip2": KnownModel(
        "onnx-community/siglip2-base-patch16-224-ONNX",
        "ba1f3b0843f24bc5417d38e19c37b287d719b2f4",
        "onnx/vision_model_fp16.onnx",
        785,
        "Apache-2.0",
        "photos by what they show, queries in many languages",
        (f"{_HF}SortaPhotos/siglip2-base-patch16-224-onnx",),
        "onnx/text_model_fp16.onnx",
        "the page is that of an unmodified copy",
        {
            "onnx/vision_model_fp16.onnx": "a1959f7bd3993a607e48839f6d01e25b876fe76afda301b028b78eef68aabd95",
            "onnx/text_model_fp16.onnx": "711da56ada0a4aa11c7dd3320df741081a3cae4f0ae1b5e5c6d5b294738d0eb0",
        },
        {"model_max_length": 64, "do_lower_case": True},
    ),
    "siglip": KnownModel(
        "Xenova/siglip-base-patch16-224",
        "294847d6b5fe86c91330269da98ce112d6c75e7e",
        "onnx/vision_model.onnx",
        816,
        "Apache-2.0",
        "photos by what they show, queries in English",
        (
            f"{_HF}Xenova/siglip-base-patch16-224/tree/294847d6b5fe86c91330269da98ce112d6c75e7e/onnx",
            f"{_HF}google/siglip-base-patch16-224",
        ),
        "onnx/text_model.onnx",
        tokenizer={"model_max_length": 64, "do_lower_case": True},
    ),
    "clip": KnownModel(
        "Xenova/clip-vit-base-patch32",
        "4c1807b705b1d015fb032789cc4d221b23025a6f",
        "onnx/vision_model.onnx",
        608,
        None,
        "photos by what they show, queries in English",
        (f"{_HF}Xenova/clip-vit-base-patch32/tree/4c1807b705b1d015fb032789cc4d221b23025a6f/onnx",),
        "onnx/text_model.onnx",
        "no page found states the licence of the weights",
        tokenizer={"model_max_length": 77},
    ),
    "mobileclip": KnownModel(
        "Xenova/mobileclip_s0",
        "757d59c9c6870a76a4b0306f05f5061bca15c39f",
        "onnx/vision_model.onnx",
        218,
        "Apple's own for research (apple-amlr)",
        "as clip, smaller",
        (f"{_HF}Ahmed107/apple_MobileCLIP-S0/tree/main/onnx", f"{_HF}apple/MobileCLIP-S0"),
        "onnx/text_model.onnx",
        "the sizes are those of a copy; the commit is the one that public programs fetch",
        {"onnx/vision_model.onnx": "17d3c037b1d488c10c50e09f6009ea5a198caef4e0e8f4ea5617b7cb2d067ac0"},
        {"model_max_length": 77},
    ),
    "dinov2": KnownModel(
        "Xenova/dinov2-small",
        "bd222e886723524568931e43031f6d9327896fac",
        "onnx/model.onnx",
        89,
        "Apache-2.0",
        "the same object or scene again, without words",
        (f"{_HF}Xenova/dinov2-small/tree/bd222e886723524568931e43031f6d9327896fac/onnx", f"{_HF}facebook/dinov2-small"),
    ),
    "dinov2-base": KnownModel(
        "Xenova/dinov2-base",
        "d5c6f95370b205a804bf4415fd98fd6d7f778cf9",
        "onnx/model.onnx",
        347,
        "Apache-2.0",
        "as dinov2, larger and slower",
        (f"{_HF}Xenova/dinov2-base/tree/d5c6f95370b205a804bf4415fd98fd6d7f778cf9/onnx", f"{_HF}facebook/dinov2-base"),
    ),
}


class NotFetchedError(UsageError):
    """A model of the table isn't on this machine yet, and nobody has said that it may be fetched.

    Attributes
    ----------
    name : str
        Its name in :data:`KNOWN`.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} isn't on this machine yet. It would be fetched from huggingface.co, once: {KNOWN[name]}; allow that "
            f"with --yes, in Python with: create_encoder({name!r}, fetch=True)"
        )
        self.name = name


def fetch(name: str) -> None:
    """Download a model of the table into the cache of huggingface_hub, unless it is there, and note the files' hashes.

    Parameters
    ----------
    name : str
        A name in :data:`KNOWN`.

    Raises
    ------
    UsageError
        If the extra ``hub`` isn't installed, or the hub doesn't have what the table says.
    EncoderError
        If the hub can't be reached, or a file isn't what it should be. What came so far is kept, and the next call goes on.
    """
    known = KNOWN[name]
    find = on_hub(name, known.repository, known.revision)
    expected = {**_recorded(known), **known.sha256}
    hashes = {}
    for file in known.files:
        path = find(file)
        if path is None:
            raise UsageError(
                f"{name}: {known.repository} has no {file} at the commit {known.revision[:10]} any more; name its newest "
                f"state instead: {HUB}{known.repository}"
            )
        with path.open("rb") as f:
            hashes[file] = hashlib.file_digest(f, "sha256").hexdigest()
        # The hub names a large file by its hash, and huggingface_hub the file in its cache.
        stated = path.resolve().name
        _check(path, hashes[file], expected.get(file, stated if _SHA256.fullmatch(stated) else None), known)
    with replace_file(_record(known)) as record:
        record.write(json.dumps(hashes, indent=1).encode())


def read_known(name: str) -> ModelFiles:
    """Read a model of the table from the cache, with no look at the network.

    Parameters
    ----------
    name : str
        A name in :data:`KNOWN`.

    Returns
    -------
    ModelFiles
        What was fetched.

    Raises
    ------
    NotFetchedError
        If it wasn't, or not to the end.
    EncoderError
        If a file was changed since.
    """
    known = KNOWN[name]
    find = on_hub(name, known.repository, known.revision, reachable=False)
    hashes = _recorded(known)
    contents: dict[str, bytes] = {}
    for file in known.files:
        path = find(file)
        if path is None or file not in hashes:
            raise NotFetchedError(name)
        contents[file] = read_file(path)
        _check(path, hashlib.sha256(contents[file]).hexdigest(), hashes[file], known)
    config = contents.get(_TOKENIZER_CONFIG)
    if config is not None and known.tokenizer:
        try:
            config = json.dumps(json.loads(config) | known.tokenizer).encode()
        except (ValueError, TypeError, RecursionError) as e:
            raise EncoderError(f"{name}: its {_TOKENIZER_CONFIG} isn't understood ({first_line(e)})") from e
    return ModelFiles(
        f"{name} ({HUB}{known.repository}/{known.image})",
        contents[known.image],
        config=contents[_SETTINGS],
        text=contents.get(known.text),
        tokenizer=contents.get(_TOKENIZER),
        tokenizer_config=config,
    )


def title_of(encoder: str, params: Mapping[str, Any]) -> str:
    """Return what an encoder is asked for by: its name, or that of the well-known model that ``neural`` runs.

    Parameters
    ----------
    encoder : str
        The encoder's name.
    params : mapping
        Its parameters.

    Returns
    -------
    str
        One of the names that :func:`lookalike.create_encoder` takes.
    """
    model = params.get("model") if encoder == "neural" else None
    return model if isinstance(model, str) and model in KNOWN else encoder


def _check(path: Path, found: str, expected: str | None, known: KnownModel) -> None:
    if expected not in (None, found):
        raise EncoderError(
            f"{path}: not the file that is expected of {known.repository}: its SHA-256 should be {expected}, and is "
            f"{found}; delete {cache_folder(known.repository)}, and fetch the model again"
        )


def _record(known: KnownModel) -> Path:
    """Return where the hashes are kept: in the model's own folder of the cache, to be deleted with it."""
    return cache_folder(known.repository) / f"lookalike-{known.revision[:10]}.json"


def _recorded(known: KnownModel) -> dict[str, str]:
    """Return the hashes that were noted when the model was fetched; none where it wasn't."""
    try:
        hashes = json.loads(_record(known).read_bytes())
    except (OSError, ValueError):
        return {}
    return hashes if isinstance(hashes, dict) else {}
