"""The commands that write an index: index, rollback."""

from __future__ import annotations

import itertools
import re
import shlex
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lookalike.cli.main import AsJson, IndexPath, Size, Source, app, only_index, parse_size, print_json
from lookalike.errors import EncoderError, IndexStoreError, LookalikeError, UsageError

if TYPE_CHECKING:
    from lookalike.index.sync import Summary

_BACK_OFF = (1, 2, 5, 10, 30, 60)  # seconds after which a watch tries again what failed
#: More than any machine has; a system refuses limits beyond it.
_MOST = 10**15


@app.command()
def index(
    collection: Source,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            "-e",
            help="A name (lookalike encoders; hog:deskew=true; neural+color), a trained one's folder, an .onnx image model, "
            "hf:owner/name, or best. Default: what the index has; for a new one hog or neural, by what the images look like.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The index's folder. Default: beside the collection.")
    ] = None,
    size: Size = None,
    deskew: Annotated[bool, typer.Option("--deskew", help="hog: set glyphs upright first.")] = False,
    adapt: Annotated[
        bool | None,
        typer.Option(
            "--adapt/--no-adapt",
            help="Learn what to overlook from augmented copies, if the self-test says it helps; also --adapt auto. "
            "Default: what the index has; for a new one, where no --encoder is named, only what does no harm.",
        ),
    ] = None,
    aim: Annotated[
        str, typer.Option("--aim", help="few, kind or both: what --adapt and --encoder best are to be good at.")
    ] = "few",
    include: Annotated[
        list[str] | None, typer.Option("--include", help="Only files like this: '*.jpg', 'scans/*'. May be repeated.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="Leave out files and folders like this. May be repeated.")
    ] = None,
    hidden: Annotated[
        bool | None, typer.Option("--hidden/--no-hidden", help="Take files and folders whose name begins with a dot.")
    ] = None,
    links: Annotated[
        bool | None,
        typer.Option("--links/--no-links", help="Follow links that lead out of the folder. [default: links]"),
    ] = None,
    path_column: Annotated[
        str | None, typer.Option("--path-column", help="Of a table that lists images: the column of the paths.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option("--label-column", help="Of a table that lists images: the column of the labels.")
    ] = None,
    frames: Annotated[
        str | None, typer.Option("--frames", help="first or each, of animations and of TIFFs with several pages.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.1, help="Time limit a file. [default: 20]")
    ] = None,
    memory: Annotated[str | None, typer.Option("--memory", help="Memory limit a file. [default: 1.07GB]")] = None,
    max_pixels: Annotated[
        str | None, typer.Option("--max-pixels", help="Limit of one picture. [default: 100M]")
    ] = None,
    max_bytes: Annotated[str | None, typer.Option("--max-bytes", help="Limit of one file. [default: 268MB]")] = None,
    max_frames: Annotated[
        int | None, typer.Option("--max-frames", min=1, help="Limit with --frames each. [default: 1000]")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes that decode. Default: one a core.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try files again that failed before.")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Read and encode every image anew.")] = False,
    only: Annotated[
        bool, typer.Option("--only", help="Drop the index's other encoders when this one is complete.")
    ] = False,
    replace_collection: Annotated[
        bool,
        typer.Option(
            "--replace-collection",
            help="The index held another collection: keep the pictures that are in both, and drop the others.",
        ),
    ] = False,
    drop_unseen: Annotated[
        bool,
        typer.Option(
            "--drop-unseen", help="Drop what can't be seen now too: on a disk that isn't there, in a closed folder."
        ),
    ] = False,
    graph: Annotated[
        bool | None,
        typer.Option("--graph/--no-graph", help="Keep the neighbour graph that --rerank diffusion goes by."),
    ] = None,
    approximate: Annotated[
        bool | None,
        typer.Option(
            "--approximate/--no-approximate", help="Keep lists for approximate search. Default: of a large index."
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and index again whenever files change.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make an index of a collection, or make it true again: only what is new, changed, renamed or gone costs work."""
    from lookalike import create_encoder, progress
    from lookalike.index.manifest import DamagedIndexError
    from lookalike.index.reopen import default_path, open_to_index

    if encoder in ("autoencoder", "contrastive"):
        what, option = ("an autoencoder", "") if encoder == "autoencoder" else (f"'{encoder}'", f" -e {encoder}")
        raise UsageError(
            f"{what} is trained first: lookalike train {collection}{option} -o FOLDER, then --encoder FOLDER"
        )
    if deskew and encoder not in (None, "hog"):
        raise UsageError("--deskew belongs to the encoder 'hog'; leave it out, or use --encoder hog")
    if frames not in (None, "first", "each"):
        raise UsageError(f"--frames {frames}: expected first or each")
    limits = {
        "seconds": seconds,
        "memory": _amount("--memory", memory),
        "pixels": _amount("--max-pixels", max_pixels),
        "bytes": _amount("--max-bytes", max_bytes),
        "frames": max_frames,
    }
    path = output or default_path(collection)

    def run() -> Summary:
        images = open_to_index(
            collection,
            path,
            size=parse_size(size),
            include=include,
            exclude=exclude,
            hidden=hidden,
            each=None if frames is None else frames == "each",
            links=links,
            path_column=path_column,
            label_column=label_column,
            limits=limits,
        )
        return _index(
            images, create_encoder("hog", deskew=True) if deskew else encoder, path, adapt=adapt, aim=aim,
            only=only, retry=retry, rebuild=rebuild, replace_collection=replace_collection, drop_unseen=drop_unseen, graph=graph,
            workers=workers, approximate=approximate,
        )  # fmt: skip

    if not watch:
        _show(run(), as_json)
        return
    from lookalike.collections.watch import watch as watching

    done = False
    for _ in watching(collection):
        for seconds_more in itertools.chain(_BACK_OFF, itertools.repeat(_BACK_OFF[-1])):
            try:
                # It may lie on a disk that is out: another one would lie hidden below it.
                if done and not path.is_dir():
                    raise IndexStoreError(f"{path}: the index isn't there any more; put it back, or end the watch")
                _show(run(), as_json)
            except (LookalikeError, OSError, MemoryError) as e:
                # A wrong call stays one, and so does a damaged index; all else may pass: a lock, a full or absent disk.
                if not done and isinstance(e, UsageError | EncoderError | DamagedIndexError):
                    raise
                progress.say(f"{e}; the watch goes on, and tries again in {seconds_more} s")
                time.sleep(seconds_more)
                continue
            sys.stdout.flush()  # who reads it waits for it now
            done, retry, rebuild, replace_collection, drop_unseen = True, False, False, False, False
            break


def _index(images: Any, encoder: Any, path: Path, **options: Any) -> Summary:
    from lookalike import build_index, progress

    summaries: list[Summary] = []
    with progress.counting("indexing") as show:
        build_index(
            images, encoder, path, on_progress=show, on_summary=summaries.append, on_note=progress.say, **options
        )
    return summaries[0]


def _show(s: Summary, as_json: bool) -> None:
    if as_json:
        print_json(asdict(s))
        return
    done = [f"{s.indexed:,} {'image' if s.indexed == 1 else 'images'} indexed"]
    copies = "duplicate" if s.duplicates == 1 else "duplicates"
    counts = {"unchanged": s.unchanged, "renamed": s.renamed, copies: s.duplicates, "removed": s.removed}
    counts |= {"kept that can't be seen now": s.unseen}
    done += [f"{n:,} {what}" for what, n in counts.items() if n]
    if s.failed:
        found = ("indexed", "duplicate", "caption")
        kinds = ", ".join(f"{n:,} {outcome}" for outcome, n in s.outcomes.items() if outcome not in found)
        done.append(f"{s.failed:,} left out ({kinds}: lookalike files --broken -i {shlex.quote(str(s.path))})")
    made = f"{s.encoder} {s.dimension}-d, {s.seconds:.1f} s ({s.images_per_second:,.0f} a second)"
    print(f"{s.path}: {', '.join(done)}; {made}", flush=True)
    from lookalike import progress

    where = shlex.quote(str(s.path))
    progress.say(f"next: lookalike search IMAGE -i {where}; its page: lookalike serve -i {where}")


def _amount(option: str, text: str | None) -> int | None:
    """Read ``500MB``, ``1.5G``, ``1.5GiB`` or ``1000000``; B, kB, MB and GB count in thousands, KiB, MiB and GiB in 1,024."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)\s*([kmgt]?)(i?)b?", text.strip().lower())
    amount = 0
    if found and (found[2] or not found[3]):
        amount = int(float(found[1]) * (1024 if found[3] else 1000) ** " kmgt".index(found[2] or " "))
    if not 1 <= amount <= _MOST:
        raise UsageError(
            f"{option} {text[:40]}: expected an amount such as 500MB, 2GB or 100M (MiB and GiB count in 1,024; at most 1000T)"
        )
    return amount


@app.command()
def rollback(index_path: IndexPath = None, as_json: AsJson = False) -> None:
    """Go back to the state before the last run; once more goes forward again."""
    from lookalike.index.rollback import rollback as go_back

    path = index_path or only_index()
    now, before = go_back(path)
    if as_json:
        print_json({"path": str(path), "now": now.written, "before": before.written, "rows": now.rows})
        return
    print(f"{path}: back at {now.rows:,} files of {now.written}, from {before.rows:,} of {before.written}")
