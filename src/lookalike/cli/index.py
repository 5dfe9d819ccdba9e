"""The commands that write an index: index, rollback."""

from __future__ import annotations

import itertools
import re
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.cli.find_index import only_index
from lookalike.cli.format import print_json, summary_line
from lookalike.cli.options import AsJson, IndexPath, Provider, Size, Source, Yes, fetches, option, parse_size, takes
from lookalike.errors import EncoderError, IndexStoreError, LookalikeError, UsageError

if TYPE_CHECKING:
    from lookalike.index.sync import Summary

_BACK_OFF = (1, 2, 5, 10, 30, 60)  # seconds after which a watch tries again what failed
#: More than any machine has; operating systems refuse limits beyond it.
_MAX_AMOUNT = 10**15


@dataclass(frozen=True)
class IndexCommand:
    """What ``lookalike index`` takes."""

    collection: Source
    encoder: str | None = option(
        "An encoder's name (see: lookalike encoders; with parameters hog:deskew=true; joined neural+color), a well-known "
        "model that is fetched once (siglip2), a trained encoder's folder, an .onnx image model, hf:owner/name, or best. Default: the index's own encoder; for a new index "
        "hog or neural, chosen from the images.",
        "--encoder",
        "-e",
    )
    output: Path | None = option("The index's folder. Default: beside the collection.", "--output", "-o")
    size: Size = None
    deskew: bool = option("hog: straighten slanted glyphs first.", default=False)
    adapt: bool | None = option(
        "Judge post-processings without labels: the default one is used, or one that is surely better. Also: --adapt "
        "RECIPE, one by name. Default: the index's own; for a new index without --encoder, the default post-processing.",
        "--adapt/--no-adapt",
    )
    recipe: str | None = option("What --adapt RECIPE means.", "--recipe", hidden=True)
    aim: str | None = option(
        "What --adapt and --encoder best choose for: nearest (the few most similar images first, the default), category "
        "(all images of the same kind), or both.",
    )
    include: list[str] | None = option("Only files that match this pattern: '*.jpg', 'scans/*'. May be repeated.")
    exclude: list[str] | None = option("Leave out files and folders that match this pattern. May be repeated.")
    hidden: bool | None = option("Include files and folders whose names begin with a dot.", "--hidden/--no-hidden")
    links: bool | None = option("Follow links that lead out of the folder. [default: links]", "--links/--no-links")
    path_column: str | None = option("In a table of images: the column of the paths.")
    label_column: str | None = option("In a table of images: the column of the labels.")
    frames: str | None = option("first or each: which frames of animations and pages of TIFFs to index.")
    seconds: float | None = option("Time limit per file. [default: 20]", min=0.1)
    memory: str | None = option("Memory limit per file. [default: 1.07GB]")
    max_pixels: str | None = option("Pixel limit per image. [default: 100M]")
    max_bytes: str | None = option("Size limit per file. [default: 268MB]")
    max_frames: int | None = option("Frame limit per file with --frames each. [default: 1000]", min=1)
    workers: int | None = option("Number of decoding processes. Default: one per core.", min=1)
    retry: bool = option("Read files again that failed before.", default=False)
    rebuild: bool = option("Read and encode every image again.", default=False)
    only: bool = option("Drop the index's other encoders when this one is complete.", default=False)
    replace_collection: bool = option(
        "Let this collection replace another one in the index: images in both are kept, all others dropped.",
        default=False,
    )
    drop_unseen: bool = option(
        "Also drop images that can't be reached now: on a disk that isn't mounted, in a folder without permission.",
        default=False,
    )
    graph: bool | None = option("Store the neighbour graph that --rerank diffusion uses.", "--graph/--no-graph")
    approximate: bool | None = option(
        "Build an approximate (IVF) index. Default: only for large collections.", "--approximate/--no-approximate"
    )
    on: str = option(
        "What reads and encodes: local, this machine; ray:local, Ray on this machine; ray://HOST:10001, the head of a Ray "
        "cluster.",
        default="local",
    )
    provider: Provider = None
    watch: bool = option("Keep running, and update the index whenever files change.", default=False)
    yes: Yes = False
    as_json: AsJson = False

    def check(self) -> None:
        """Refuse what makes no sense before anything is read."""
        from lookalike.object_store import as_typed, is_address

        if self.watch and (is_address(self.collection) or is_address(as_typed(self.output or ""))):
            raise UsageError(
                "--watch follows a folder of this machine; for a bucket run the same command again, by a timer"
            )
        if self.encoder in ("autoencoder", "contrastive"):
            trained = "an autoencoder" if self.encoder == "autoencoder" else f"'{self.encoder}'"
            named = "" if self.encoder == "autoencoder" else f" -e {self.encoder}"
            raise UsageError(
                f"{trained} is trained first: lookalike train {self.collection}{named} -o FOLDER, then --encoder FOLDER"
            )
        if self.deskew and self.encoder not in (None, "hog"):
            raise UsageError("--deskew belongs to the encoder 'hog'; leave it out, or use --encoder hog")
        if self.frames not in (None, "first", "each"):
            raise UsageError(f"--frames {self.frames}: expected first or each")

    def limits(self) -> dict[str, float | int | None]:
        """Return what one file may cost, as :func:`lookalike.index.reopen.open_to_index` takes it."""
        return {
            "seconds": self.seconds,
            "memory": _amount("--memory", self.memory),
            "pixels": _amount("--max-pixels", self.max_pixels),
            "bytes": _amount("--max-bytes", self.max_bytes),
            "frames": self.max_frames,
        }


@takes(IndexCommand)
@fetches
def index(options: IndexCommand) -> None:
    """Create an index of a collection, or update it: only new, changed, renamed and deleted files cost work."""
    from lookalike.index.reopen import default_path
    from lookalike.object_store import as_typed

    options.check()
    path = as_typed(options.output or default_path(options.collection))
    size, limits = parse_size(options.size), options.limits()

    def run(options: IndexCommand) -> None:
        _show(_update(options, path, size, limits), options.as_json)

    if options.watch:
        _watch(run, options, Path(path))
    else:
        run(options)


def _update(
    options: IndexCommand,
    path: str | Path,
    size: int | tuple[int, int] | None,
    limits: dict[str, float | int | None],
) -> Summary:
    """Bring an index to what its collection is now, wherever it is."""
    from lookalike.cluster.on_ray import check_on
    from lookalike.index.bucket import index_to_write, shown_place

    check_on(options.on)
    with index_to_write(path) as folder:
        summary = _update_folder(options, folder, size, limits)
    return replace(summary, path=shown_place(path))


def _update_folder(
    options: IndexCommand,
    path: Path,
    size: int | tuple[int, int] | None,
    limits: dict[str, float | int | None],
) -> Summary:
    """Bring an index to what its collection is now."""
    from lookalike import build_index, create_encoder, progress
    from lookalike.index.reopen import open_to_index

    images = open_to_index(
        options.collection,
        path,
        size=size,
        include=options.include,
        exclude=options.exclude,
        hidden=options.hidden,
        each=None if options.frames is None else options.frames == "each",
        links=options.links,
        path_column=options.path_column,
        label_column=options.label_column,
        limits=limits,
    )
    summaries: list[Summary] = []
    with progress.counting("indexing") as show:
        build_index(
            images,
            create_encoder("hog", deskew=True) if options.deskew else options.encoder,
            path,
            adapt=options.recipe or options.adapt,
            aim=options.aim,
            only=options.only,
            retry=options.retry,
            rebuild=options.rebuild,
            replace_collection=options.replace_collection,
            drop_unseen=options.drop_unseen,
            graph=options.graph,
            approximate=options.approximate,
            workers=options.workers,
            on=options.on,
            on_progress=show,
            on_summary=summaries.append,
            on_note=progress.say,
        )
    return summaries[0]


def _watch(run: Callable[[IndexCommand], None], options: IndexCommand, path: Path) -> None:
    """Update the index whenever files change; what fails is tried again, later and later."""
    from lookalike import progress
    from lookalike.collections.watch import watch
    from lookalike.index.manifest import DamagedIndexError

    done = False
    for _ in watch(options.collection):
        for seconds in itertools.chain(_BACK_OFF, itertools.repeat(_BACK_OFF[-1])):
            try:
                # It may lie on a disk that isn't mounted: another one would lie hidden below it.
                if done and not path.is_dir():
                    raise IndexStoreError(f"{path}: the index isn't there any more; put it back, or end the watch")
                run(options)
            except (LookalikeError, OSError, MemoryError) as e:
                # A wrong call stays one, and so does a damaged index; all else may pass: a lock, a full or absent disk.
                if not done and isinstance(e, UsageError | EncoderError | DamagedIndexError):
                    raise
                progress.say(f"{e}; the watch goes on, and tries again in {seconds} s")
                time.sleep(seconds)
                continue
            sys.stdout.flush()  # a program that reads it waits for it now
            done = True
            options = replace(options, retry=False, rebuild=False, replace_collection=False, drop_unseen=False)
            break


def _show(summary: Summary, as_json: bool) -> None:
    if as_json:
        print_json(asdict(summary))
        return
    from lookalike import progress

    print(summary_line(summary), flush=True)
    where = shlex.quote(str(summary.path))
    progress.say(f"next: lookalike search IMAGE -i {where}; its page: lookalike serve -i {where}")


def _amount(option: str, text: str | None) -> int | None:
    """Read ``500MB``, ``1.5G``, ``1.5GiB`` or ``1000000``; B, kB, MB and GB count in thousands, KiB, MiB and GiB in 1,024."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)\s*([kmgt]?)(i?)b?", text.strip().lower())
    amount = 0
    if match and (match[2] or not match[3]):
        amount = int(float(match[1]) * (1024 if match[3] else 1000) ** " kmgt".index(match[2] or " "))
    if not 1 <= amount <= _MAX_AMOUNT:
        raise UsageError(
            f"{option} {text[:40]}: expected an amount such as 500MB, 2GB or 100M (MiB and GiB count in 1,024; at most 1000T)"
        )
    return amount


def rollback(index_path: IndexPath = None, as_json: AsJson = False) -> None:
    """Undo the last indexing run; run it again to redo."""
    from lookalike.index.bucket import refuse_copy
    from lookalike.index.rollback import rollback as roll_back

    path = index_path or only_index()
    refuse_copy(path, "rollback")
    now, before = roll_back(path)
    if as_json:
        print_json({"path": str(path), "now": now.written, "before": before.written, "rows": now.rows})
        return
    print(f"{path}: back at {now.rows:,} files of {now.written}, from {before.rows:,} of {before.written}")
