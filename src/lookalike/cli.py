"""The commands: each is a few lines over the functions of the other modules. Nothing imports this file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lookalike.errors import CollectionError, LookalikeError, UsageError

if TYPE_CHECKING:
    from lookalike.encoders import Encoder
    from lookalike.index import Index

# Everything else is imported inside the command that needs it: --help answers at once, and only train imports Keras.

app = typer.Typer(
    name="lookalike",
    help="Find images like this one: label-free image search on your own machine, with an honest score.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Source = Annotated[
    str, typer.Argument(help="A folder, an image, an IDX, .npy or .npz file, or 'mnist'; [7] or [10:20] picks some.")
]
IndexPath = Annotated[
    Path | None, typer.Option("--index", "-i", help="The index's folder. Default: the one index in this folder.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the documented JSON on standard output.")]
Size = Annotated[
    str | None, typer.Option("--size", help="Bring every image to this size: 64, or 80x60 (width x height).")
]
DistanceName = Annotated[
    str | None, typer.Option("--distance", help="cosine or euclidean. Default: the encoder's own (cosine).")
]
Seed = Annotated[int, typer.Option("--seed", help="Same seed, same result.")]
Resize = Annotated[bool, typer.Option("--resize", help="Bring images of another size to the index's or the encoder's.")]


def run(arguments: list[str]) -> int:
    """Run one command line.

    Parameters
    ----------
    arguments : list of str
        Without the program's name.

    Returns
    -------
    int
        0 done, 1 the work failed, 2 the call was wrong.
    """
    debug = "--debug" in arguments
    try:
        code = app(args=[a for a in arguments if a != "--debug"], standalone_mode=False)
        sys.stdout.flush()  # a full disk or a closed pipe shows here
        if code == 130:  # what newer typers make of Ctrl-C
            raise KeyboardInterrupt
    except (Exception, KeyboardInterrupt) as e:
        code, text = _explain(e)
        if debug and text:
            raise
        if text:
            print(f"lookalike: {text}", file=sys.stderr, flush=True)
    return code if isinstance(code, int) else 0


def _explain(error: BaseException) -> tuple[int, str]:
    """Return the exit code for an error, and what a person is told; nothing where they know already."""
    match error:
        case LookalikeError():
            return error.exit_code, str(error)
        case typer.Exit():
            return error.exit_code, ""
        case KeyboardInterrupt() | typer.Abort():
            return 1, "stopped; the same command starts again"
        case BrokenPipeError():  # who read our output has gone, as `head` does
            return 1, ""
        case OSError():
            return 1, f"{error.filename or 'the system'}: {error.strerror or error}"
        case MemoryError():
            return 1, "there is not enough memory for this; take fewer images, or a smaller --size"
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's own: the call was wrong
        message = error.format_message()  # empty where the help was shown instead
        return int(error.exit_code), message and f"{message} (see: lookalike --help)"
    return 1, f"unexpected: {type(error).__name__}: {error}. This is a fault of ours; --debug shows where"


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def _version(wanted: bool) -> None:
    if wanted:
        from lookalike import __version__

        print(f"lookalike {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Find images like this one."""


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for all that it makes.")] = Path("demo"),
    full: Annotated[bool, typer.Option("--full", help="20 epochs of both presets, and all 10,000 queries.")] = False,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Time box of the trainings, all together.")] = 90,
    queries: Annotated[int, typer.Option("--queries", min=1, help="How many of the 10,000 test digits to ask.")] = 1000,
    seed: Seed = 0,
) -> None:
    """Do all of it on MNIST: train, index 60,000 digits, answer and score test queries, and write report.html."""
    from lookalike.demo import run_demo

    report = run_demo(output, seconds=None if full else seconds, queries=None if full else queries, seed=seed)
    print(report.resolve())


@app.command()
def train(
    collection: Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the trained encoder and its checkpoint.")],
    preset: Annotated[str, typer.Option("--preset", help="tutorial (32-32 filters) or article (16-8-8).")] = "tutorial",
    epochs: Annotated[int, typer.Option("--epochs")] = 20,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Stop after this long, with the best so far.")
    ] = None,
    noise: Annotated[float, typer.Option("--noise", help="Standard deviation, for pixels in 0..1.")] = 0.5,
    fixed_noise: Annotated[
        bool, typer.Option("--fixed-noise", help="Draw the noise once, as the article did.")
    ] = False,
    batch_size: Annotated[int, typer.Option("--batch-size")] = 128,
    optimizer: Annotated[str, typer.Option("--optimizer", help="adam or adadelta (the article's).")] = "adam",
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Default: adam .001, adadelta 1.")
    ] = None,
    validation: Annotated[float, typer.Option("--validation", help="Share held out to choose the best epoch.")] = 0.02,
    precision: Annotated[str, typer.Option("--precision", help="auto, float32 or bfloat16.")] = "auto",
    seed: Seed = 0,
    size: Size = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the output folder.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew although there is a checkpoint.")] = False,
) -> None:
    """Train a denoising autoencoder on a collection (the only command that needs Keras)."""
    from lookalike import create_encoder, open_collection, progress
    from lookalike.encoders.autoencoder import Autoencoder

    checkpoint = output / "checkpoint.npz"
    if checkpoint.exists() and not (resume or restart):
        raise UsageError(
            f"{checkpoint}: a training was begun here; add --resume to go on with it, or --restart to begin anew"
        )
    if resume and restart:
        raise UsageError("--resume and --restart exclude each other; give one")
    encoder = create_encoder(
        "autoencoder", preset=preset, epochs=epochs, minutes=minutes, noise=noise, fixed_noise=fixed_noise,
        batch_size=batch_size, optimizer=optimizer, learning_rate=learning_rate, validation=validation,
        precision=precision, seed=seed,
    )  # fmt: skip
    assert isinstance(encoder, Autoencoder)
    encoder.check_params()
    opened = open_collection(collection, size=_parse_size(size))
    images = opened.array()
    left_out = f" ({len(opened) - len(images):,} can't be read and are left out)" if len(images) < len(opened) else ""
    progress.say(f"training '{preset}' on {len(images):,} images of {collection}{left_out}")
    with progress.training() as show:
        encoder.train(images, checkpoint=checkpoint, resume=resume, on_progress=show)
    encoder.save(output)
    best = encoder.history_[encoder.best_epoch_ - 1]
    loss = best["validation_loss"] if best["validation_loss"] is not None else best["loss"]
    why = {"time": "; the time was up", "interrupted": "; stopped by Ctrl-C, --resume goes on"}.get(
        encoder.stopped_, ""
    )
    progress.say(f"{output}: best of {len(encoder.history_)} epochs is {encoder.best_epoch_}, loss {loss:.4f}{why}")
    progress.say(f"computed in {encoder.precision_}; next: lookalike index {collection} --encoder {output}")
    if encoder.stopped_ == "interrupted":
        raise typer.Exit(1)


@app.command()
def index(
    collection: Source,
    encoder: Annotated[
        str, typer.Option("--encoder", "-e", help="A name (see: lookalike encoders) or a trained one's folder.")
    ] = "hog",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The index's folder. Default: beside the collection.")
    ] = None,
    size: Size = None,
    deskew: Annotated[bool, typer.Option("--deskew", help="hog: set glyphs upright first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Encode a collection and store its descriptors; an index that was there is replaced when the new one is whole."""
    from lookalike import build_index, create_encoder, open_collection, progress
    from lookalike.index import Summary, default_path

    if encoder == "autoencoder":
        raise UsageError(
            f"an autoencoder is trained first: lookalike train {collection} -o FOLDER, then --encoder FOLDER"
        )
    if deskew and encoder != "hog":
        raise UsageError("--deskew belongs to the encoder 'hog'; leave it out, or use --encoder hog")
    summaries: list[Summary] = []
    images = open_collection(collection, size=_parse_size(size))
    with progress.counting("indexing") as show:
        build_index(
            images,
            create_encoder("hog", deskew=True) if deskew else encoder,
            output or default_path(collection),
            on_progress=show,
            on_summary=summaries.append,
        )
    s = summaries[0]
    if as_json:
        _print_json({"indexed": s.indexed, "unchanged": 0, "failed": s.failed, "seconds": s.seconds,
                     "images_per_second": s.images_per_second, "encoder": s.encoder, "dimension": s.dimension,
                     "path": s.path})  # fmt: skip
        return
    failed = f", {s.failed:,} left out (lookalike files --broken -i {s.path})" if s.failed else ""
    print(
        f"{s.path}: {s.indexed:,} images indexed{failed}, {s.encoder} {s.dimension}-d, {s.seconds:.1f} s "
        f"({s.images_per_second:,.0f} a second)"
    )


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="An image file, a folder of them, mnist:test[7], digits.npy[0:10].")],
    index_path: IndexPath = None,
    k: Annotated[int, typer.Option("-k", help="How many answers.")] = 10,
    distance: DistanceName = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", "-e", help="Refuse an index that another encoder made.")
    ] = None,
    resize: Resize = False,
    picture: Annotated[
        Path | None, typer.Option("--picture", "-o", help="Draw query and answers to a .png, .svg or .pdf.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the images nearest to a query image."""
    from lookalike import open_collection
    from lookalike import search as searching

    opened = _open(index_path, encoder)
    queries = open_collection(query)
    results = searching.search(opened, queries, k, distance=distance, resize=resize)
    if picture is not None:
        import numpy as np

        from lookalike import plots

        shown = searching.query_images(opened, queries, resize=resize)
        answers = [np.stack(opened.thumbnails([m.row for m in r.matches])) for r in results]
        captions = [[f"{m.distance:.3f}" for m in r.matches] for r in results]
        plots.save(plots.retrieved(shown, answers, captions=captions), picture)
    if as_json:
        _print_json({"results": [r.to_json() for r in results]})
        return
    for result in results:
        print(result.query)
        for m in result.matches:
            label = "" if m.label is None else f"  label {m.label}"
            print(f"{m.rank:>5}  {m.id}  distance {m.distance:.4f}  similarity {m.similarity:.4f}{label}")


@app.command()
def score(
    queries: Annotated[
        str | None, typer.Argument(help="Labelled query images. Default: mnist:test for an index of mnist.")
    ] = None,
    index_path: IndexPath = None,
    count: Annotated[
        int | None, typer.Option("--queries", min=1, help="Take so many of them, drawn by the seed. Default: all.")
    ] = None,
    distance: DistanceName = None,
    resize: Resize = False,
    seed: Seed = 0,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw the curve of LRAP by n to a .png, .svg or .pdf.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rank the whole index for every labelled query, and print how good the rankings are."""
    from lookalike import evaluation, progress

    opened = _open(index_path, None)
    with progress.counting("scoring") as show:
        report = evaluation.score(
            opened, queries, count=count, distance=distance, resize=resize, seed=seed, on_progress=show
        )
    if plot is not None:
        from lookalike import plots

        plots.save(plots.score_curves({report.encoder: report.lrap}, {report.encoder: report.lrap_intervals}), plot)
    if as_json:
        _print_json(report.to_json())
    else:
        print(report.to_text())


@app.command()
def denoise(
    source: Source,
    encoder: Annotated[Path, typer.Option("--encoder", "-e", help="Folder of a trained autoencoder.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="A folder for .png files, an .npy file, or an image file for one image."),
    ],
    clean: Annotated[
        str | None, typer.Option("--clean", help="The clean originals: report MSE, PSNR and SSIM.")
    ] = None,
    noise: Annotated[
        float, typer.Option("--noise", min=0, help="Add this much noise first; the source is then the original.")
    ] = 0.0,
    resize: Resize = False,
    seed: Seed = 0,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Draw ten pairs, noisy above, denoised below.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove noise from images with a trained autoencoder."""
    import numpy as np

    from lookalike import denoising, load_encoder, open_collection, progress

    if clean is not None and noise:
        raise UsageError("--clean and --noise exclude each other: with --noise the source is the clean original")
    loaded = load_encoder(encoder)
    size = (loaded.shape_[0], loaded.shape_[1]) if resize else None
    given = open_collection(source, size=size)
    batches = list(given.batches())
    failures = [failure for batch in batches for failure in batch.failures]
    if len(failures) == len(given):
        raise CollectionError(f"{source}: none of {len(given):,} images can be read; the first: {failures[0].reason}")
    for failure in failures:
        progress.say(f"left out: {failure.reason}")
    kept = np.concatenate([batch.positions for batch in batches]).tolist()
    images = _as_encoder_takes(np.concatenate([batch.images for batch in batches]), loaded)
    original = images if noise else None
    if clean is not None:
        originals = open_collection(clean, size=size)
        if len(originals) != len(given):
            raise UsageError(
                f"{clean}: {len(originals):,} clean images for {len(given):,}; give one for each, in order"
            )
        original = _as_encoder_takes(originals.take(kept).array(), loaded)
    noisy = denoising.add_noise(images, noise, seed) if noise else images
    cleaned = denoising.denoise(loaded, noisy)
    report: dict[str, Any] = {"images": len(cleaned), "failed": len(failures), "output": str(output)}
    if original is not None:
        report["noisy"] = denoising.quality(noisy, original).to_json()
        report["denoised"] = denoising.quality(cleaned, original).to_json()
    _write_images(cleaned, [given.ids[i] for i in kept], output)
    if figure is not None:
        from lookalike import plots

        ten = slice(0, 10)
        shown = None if original is None else original[ten]
        plots.save(plots.denoising_pairs(noisy[ten], cleaned[ten], original=shown), figure)
    if as_json:
        _print_json(report)
        return
    print(f"{output}: {len(cleaned):,} images denoised" + (f", {len(failures):,} left out" if failures else ""))
    for name in ("noisy", "denoised") if original is not None else ():
        q = report[name]
        psnr = "infinite" if q["psnr"] is None else f"{q['psnr']:.2f} dB"
        print(f"  {name:<9} MSE {q['mse']:.5f}  PSNR {psnr}  SSIM {q['ssim']:.4f}")


@app.command()
def info(index_path: IndexPath = None, as_json: AsJson = False) -> None:
    """Show an index's passport: what it holds and what made it."""
    from dataclasses import asdict

    opened = _open(index_path, None)
    facts = asdict(opened.passport) | {"path": str(opened.path)}
    if as_json:
        _print_json(facts)
        return
    for name, value in facts.items():
        print(f"{name:<12} {', '.join(f'{k} {v}' for k, v in value.items()) if isinstance(value, dict) else value}")


@app.command()
def files(
    index_path: IndexPath = None,
    broken: Annotated[bool, typer.Option("--broken", help="Only those that were left out.")] = False,
    as_json: AsJson = False,
) -> None:
    """List every image of an index with its outcome; those left out with stage and reason."""
    opened = _open(index_path, None)
    rows = opened.failures() if broken else opened.files()
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        why = "" if row["outcome"] == "indexed" else f"\t{row['outcome']} ({row['stage']}): {row['reason']}"
        print(row["path"] + why)


@app.command()
def encoders(as_json: AsJson = False) -> None:
    """List the encoders and what each is."""
    from lookalike.encoders import TABLE, describe

    rows = [{"name": name, "extra": TABLE[name][1] or None, "about": describe(name)} for name in sorted(TABLE)]
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        extra = f" (training needs lookalike[{row['extra']}])" if row["extra"] else ""
        print(f"{row['name']:<12} {row['about']}{extra}")


def _open(path: Path | None, encoder: str | None) -> Index:
    from lookalike import open_index

    return open_index(path or _only_index(), encoder=encoder)


def _only_index() -> Path:
    found = sorted(p for p in [Path(".lookalike"), *Path().glob("*.lookalike")] if p.is_dir())
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError("no index in this folder; name one with --index, or make one with: lookalike index COLLECTION")
    raise UsageError(f"{len(found)} indexes in this folder ({', '.join(map(str, found))}); name one with --index")


def _parse_size(size: str | None) -> int | tuple[int, int] | None:
    if size is None:
        return None
    parts = size.lower().split("x")
    if len(parts) > 2 or not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise UsageError(f"--size {size}: expected a side in pixels such as 64, or width x height such as 80x60")
    return int(parts[0]) if len(parts) == 1 else (int(parts[1]), int(parts[0]))


def _as_encoder_takes(images: Any, encoder: Encoder) -> Any:
    """Turn grey to colour or back where only that differs; another size is the encoder's to refuse."""
    import numpy as np

    from lookalike.images import fit_to

    if images.ndim - 1 == len(encoder.shape_):
        return images
    return np.stack([fit_to(image, (*images.shape[1:3], *encoder.shape_[2:])) for image in images])


def _write_images(images: Any, ids: list[str], output: Path) -> None:
    import numpy as np

    from lookalike import progress
    from lookalike.images import save_image
    from lookalike.storage import replace_file

    if output.suffix.lower() == ".npy":
        output.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(output) as f:
            np.save(f, images)
    elif output.suffix and not output.is_dir():
        if len(images) > 1:
            raise UsageError(
                f"{output}: one file for {len(images):,} images; give a folder, or a name that ends in .npy"
            )
        save_image(images[0], output)
    else:
        targets = [(output / name).with_suffix(".png") for name in ids]
        if len(set(targets)) < len(ids):  # a.jpg beside a.png
            targets = [output / f"{name}.png" for name in ids]
        with progress.counting("writing") as show:
            for i, (image, target) in enumerate(zip(images, targets, strict=True), 1):
                target.parent.mkdir(parents=True, exist_ok=True)
                save_image(image, target)
                show(i, len(images))


__all__ = ["run"]
