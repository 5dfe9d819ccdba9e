"""Where a model lies -> the contents of its files: a file or folder on this machine, or a repository on Hugging Face.

The layout is the one that Hugging Face's ONNX exports have: graphs in ``onnx/`` or beside the rest, the image tower in
``vision_model.onnx`` where there are two and else in ``model.onnx``, settings in ``preprocessor_config.json``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lookalike.errors import EncoderError, UsageError, first_line, missing_extra
from lookalike.process import import_environment

#: What a model on Hugging Face's hub is named by.
HUB = "hf:"
#: Graphs of the image tower, the first found is taken.
MODELS = ("onnx/vision_model.onnx", "vision_model.onnx", "onnx/model.onnx", "model.onnx")
#: Graphs of the text tower.
TEXT_MODELS = ("onnx/text_model.onnx", "text_model.onnx")
#: How long the hub may take to answer for the first time.
HUB_SECONDS = 5
#: The largest file that ONNX allows (a protobuf message).
MAX_BYTES = 2**31 - 1

#: The path of a file by its name in the repository or folder, None where it isn't there.
Find = Callable[[str], Path | None]


@dataclass(frozen=True)
class ModelFiles:
    """The contents of a model's files.

    Attributes
    ----------
    where : str
        Name of the graph's file, for messages.
    model : bytes
        The image tower, or both towers in one graph.
    config : bytes or None
        ``preprocessor_config.json``.
    text : bytes or None
        The text tower.
    tokenizer : bytes or None
        ``tokenizer.json``.
    tokenizer_config : bytes or None
        ``tokenizer_config.json``.
    """

    where: str
    model: bytes
    config: bytes | None = None
    text: bytes | None = None
    tokenizer: bytes | None = None
    tokenizer_config: bytes | None = None


def read_model_files(model: str) -> ModelFiles:
    """Read a model's files, downloading those that aren't in the cache where it is on Hugging Face's hub.

    Parameters
    ----------
    model : str
        Path of an ``.onnx`` file or of a folder that holds one, or ``hf:owner/name``.

    Returns
    -------
    ModelFiles
        What was found.

    Raises
    ------
    UsageError
        If nothing is there, or the extra for the hub isn't installed.
    EncoderError
        If a file can't be read or downloaded, or is larger than an ONNX file can be.
    """
    if model.startswith(HUB):
        return _collect(model, on_hub(model, model.removeprefix(HUB)), MODELS)
    path = Path(model)
    if not path.exists():
        raise UsageError(
            f"neural: no model '{model}'; expected pair, fast, an .onnx file, a folder that holds one, or "
            f"{HUB}owner/name"
        )
    folder = path if path.is_dir() else path.parent.parent if path.absolute().parent.name == "onnx" else path.parent
    names = MODELS if path.is_dir() else (path.relative_to(folder).as_posix(),)

    def find(name: str) -> Path | None:
        return folder / name if (folder / name).is_file() else None

    return _collect(model, find, names)


def _collect(model: str, find: Find, names: tuple[str, ...]) -> ModelFiles:
    existing = next(((name, path) for name in names if (path := find(name))), None)
    if existing is None:
        raise UsageError(f"neural: {model} holds no ONNX model; expected one of: {', '.join(names)}")
    name, path = existing

    def read(*names: str) -> bytes | None:
        return next((read_file(path) for name in names if (path := find(name))), None)

    tokenizer = read("tokenizer.json")
    return ModelFiles(
        f"{model}/{name}" if len(names) > 1 else model,
        read_file(path),
        config=read("preprocessor_config.json"),
        text=read(*TEXT_MODELS) if tokenizer is not None else None,
        tokenizer=tokenizer,
        tokenizer_config=read("tokenizer_config.json") if tokenizer is not None else None,
    )


def read_file(path: Path) -> bytes:
    """Read a model's file whole.

    Parameters
    ----------
    path : Path
        On this machine.

    Returns
    -------
    bytes
        Its content.

    Raises
    ------
    EncoderError
        If it can't be read, or is larger than an ONNX file can be.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise EncoderError(
                f"{path}: {size / 1e9:.1f} GB, an ONNX model in one file has at most {MAX_BYTES / 1e9:.1f}; use a smaller "
                "or a quantised one"
            )
        return path.read_bytes()
    except OSError as e:
        raise EncoderError(f"{path}: can't be read: {e.strerror or e}") from e


def cache_folder(repository: str) -> Path:
    """Return the folder in which huggingface_hub keeps what it has fetched of a repository.

    Parameters
    ----------
    repository : str
        Owner and name.

    Returns
    -------
    Path
        It needn't exist.
    """
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE, f"models--{repository.replace('/', '--')}")


def on_hub(model: str, repository: str, revision: str | None = None, *, reachable: bool = True) -> Find:
    """Return what finds a file of a repository in the cache or on the hub.

    Parameters
    ----------
    model : str
        What the model is called in errors.
    repository : str
        Owner and name.
    revision : str, optional
        A commit; by default the newest, or the one in the cache.
    reachable : bool
        Whether the hub is asked for what isn't in the cache.

    Returns
    -------
    callable
        A file's name -> its path, None where it isn't there.

    Raises
    ------
    UsageError
        If the extra ``hub`` isn't installed.
    """
    try:
        with import_environment(HF_HUB_DISABLE_TELEMETRY="1"):
            from huggingface_hub import (
                errors,
                get_hf_file_metadata,
                hf_hub_download,
                hf_hub_url,
                try_to_load_from_cache,
            )
    except ImportError as e:
        raise missing_extra(f"the model '{model}'", "hub") from e
    met = False
    away = (
        f"{model}: {{}} isn't in the cache and huggingface.co can't be reached; connect once to download it, "
        "or give the path of a model on this machine"
    )

    def is_there(name: str) -> bool:
        """Ask the hub once, briefly: a download would try five times more, which takes half a minute."""
        nonlocal met
        try:
            get_hf_file_metadata(hf_hub_url(repository, name, revision=revision), timeout=HUB_SECONDS)
        except (errors.HfHubHTTPError, errors.HFValidationError):
            pass  # it answers, or would; the download says what is wrong
        except Exception:  # of the network, whose library is another from version to version
            return False
        met = True
        return True

    def find(name: str) -> Path | None:
        try:
            cached = try_to_load_from_cache(repository, name, revision=revision)
            # What was fetched once stays what it is; a text is its path, else it isn't there.
            if cached is not None or not reachable:
                return Path(cached) if isinstance(cached, str) else None
            if not met and not is_there(name):
                raise EncoderError(away.format(name))
            return Path(hf_hub_download(repository, name, revision=revision))
        except EncoderError:
            raise
        except errors.LocalEntryNotFoundError as e:  # a kind of EntryNotFoundError, but for want of a network
            raise EncoderError(away.format(name)) from e
        except errors.EntryNotFoundError:
            return None
        except errors.HFValidationError as e:
            raise UsageError(f"neural: '{model}' names no model; expected {HUB}owner/name") from e
        except errors.RepositoryNotFoundError as e:  # one that wants a login is a kind of this
            raise UsageError(
                f"neural: huggingface.co has no model '{repository}' that is open to you; check the name, or log in "
                "with: hf auth login"
            ) from e
        except Exception as e:  # of the network, the disk or the hub: they share no base
            raise EncoderError(f"{model}: {name} can't be downloaded ({first_line(e)}); try again") from e

    return find
