"""The encoders that exist, by name: one file each, and a line here. Another package adds one by an entry point.

The group of entry points is ``lookalike.encoders``: ``name = "module:Class"``; see ``examples/an_encoder.py``.
"""

from __future__ import annotations

import inspect
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import numpy as np

from lookalike.encoders.onnx.known_models import KNOWN
from lookalike.encoders.onnx.known_models import fetch as fetch_model
from lookalike.errors import EncoderError, unknown_name
from lookalike.registry import Registry

if TYPE_CHECKING:
    from lookalike.encoders.base import Encoder

#: name -> ("module:Class", the extra its ``fit`` needs or "")
TABLE: dict[str, tuple[str, str]] = {
    "autoencoder": ("lookalike.encoders.autoencoder:Autoencoder", "train"),
    "color": ("lookalike.encoders.color:Color", ""),
    "contrastive": ("lookalike.encoders.contrastive:Contrastive", "train"),
    "fusion": ("lookalike.encoders.fusion:Fusion", ""),
    "hashing": ("lookalike.encoders.hashing:Hashing", "train"),
    "hog": ("lookalike.encoders.hog:Hog", ""),
    "itq": ("lookalike.encoders.itq:Itq", ""),
    "neural": ("lookalike.encoders.neural:Neural", ""),
    "pixels": ("lookalike.encoders.pixels:Pixels", ""),
    "sift": ("lookalike.encoders.local:Sift", "local"),
    "surf": ("lookalike.encoders.local:Surf", "local"),
}
#: Ours and those of other packages.
ENCODERS: Registry[Encoder] = Registry(
    "encoder", "lookalike.encoders", "lookalike.encoders.base:Encoder", TABLE, error=EncoderError
)


def create(name: str, **params: Any) -> Encoder:
    """Make an encoder by its name, not yet fitted.

    Parameters
    ----------
    name : str
        A name in :data:`TABLE`, one that another package brings, a well-known model that ``neural`` runs (``"siglip2"``,
        :data:`lookalike.encoders.onnx.known_models.KNOWN`), or several joined by ``+``, as in ``"hog+color"``.
    **params
        The encoder's own keyword arguments.

    Returns
    -------
    Encoder
        An unfitted encoder.

    Raises
    ------
    UsageError
        If the name or a parameter isn't known; the message lists the known ones.

    Examples
    --------
    >>> create("pixels")
    Pixels()
    """
    if "+" in name:
        return create("fusion", members=name, **params)
    if name in KNOWN:
        return create("neural", model=name, **params)
    if name not in ENCODERS:
        raise unknown_name("encoder", name, [*ENCODERS, *KNOWN])
    cls = ENCODERS[name]
    known = set(inspect.signature(cls).parameters)
    for p in params:
        if p not in known:
            raise unknown_name(f"{name} parameter", p, known)
    return cls(**{p: value.item() if isinstance(value, np.generic) else value for p, value in params.items()})


def create_encoder(name: str, *, fetch: bool = False, **params: Any) -> Encoder:
    """Make an encoder by its name, not yet fitted; :func:`create` with a word about what isn't on this machine.

    Parameters
    ----------
    name : str
        As of :func:`create`.
    fetch : bool
        Download the well-known models that it names, once, where they aren't here yet (the extra ``hub``). Without it
        nothing looks at the network, and ``fit`` says what is missing. No saved encoder can ask for it.
    **params
        The encoder's own keyword arguments.

    Returns
    -------
    Encoder
        An unfitted encoder.

    Raises
    ------
    UsageError
        If the name or a parameter isn't known; the message lists the known ones.
    EncoderError
        If a model can't be downloaded, or isn't what it should be.

    Examples
    --------
    >>> create_encoder("hog", deskew=True)
    Hog(cells=7, bins=8, deskew=True)
    """
    encoder = create(name, **params)
    for model in name.split("+") if fetch else ():
        if model in KNOWN:
            fetch_model(model)
    return encoder


def describe(name: str) -> str:
    """Say in one line what an encoder is: the first line of its class's docstring, read without importing its extra.

    Parameters
    ----------
    name : str
        A name in :data:`TABLE`.

    Returns
    -------
    str
        One sentence.
    """
    return (inspect.getdoc(ENCODERS[name]) or "").splitlines()[0]


def installed_encoders() -> dict[str, EntryPoint]:
    """Return the encoders that other installed packages bring, by the entry points of ``lookalike.encoders``.

    Returns
    -------
    dict of str to EntryPoint
        Name -> where it is; none of them is imported. A name of ours stays ours.
    """
    return ENCODERS.installed()


def is_encoder_name(name: str) -> bool:
    """Tell whether ``create`` would take a name: one of ours, a well-known model, of another package, or several by ``+``.

    Parameters
    ----------
    name : str
        What may be a name, or a folder.

    Returns
    -------
    bool
        Installed packages are only looked through for names that aren't ours.
    """
    parts = name.split("+")
    ours = TABLE | KNOWN
    return all(part in ours for part in parts) or all(part in ours or part in installed_encoders() for part in parts)
