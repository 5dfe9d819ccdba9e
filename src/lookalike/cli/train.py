"""The commands that learn, and what is done with what was learnt: demo, train, denoise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lookalike.cli.main import AsJson, Overwrite, Resize, Seed, Size, Source, app, figure_name, parse_size, print_json
from lookalike.errors import CollectionError, UsageError

if TYPE_CHECKING:
    from lookalike.encoders.base import Encoder


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for all that it makes.")] = Path("demo"),
    full: Annotated[bool, typer.Option("--full", help="20 epochs of both presets, and all 10,000 queries.")] = False,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Time box of the trainings, all together.")] = 90,
    queries: Annotated[int, typer.Option("--queries", min=1, help="How many of the 10,000 test digits to ask.")] = 1000,
    seed: Seed = 0,
) -> None:
    """Do all of it on MNIST: train, index 60,000 digits, answer and score test queries, and write report.html."""
    from lookalike.reports.demo import run_demo

    report = run_demo(output, seconds=None if full else seconds, queries=None if full else queries, seed=seed)
    print(report.resolve())


@app.command()
def train(
    collection: Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the trained encoder and its checkpoint.")],
    encoder: Annotated[
        str,
        typer.Option("--encoder", "-e", help="autoencoder, contrastive or hashing; contrastive:loss=vicreg sets more."),
    ] = "autoencoder",
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="autoencoder: tutorial (32-32 filters), article (16-8-8), or deep: one vector."),
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the images; default: 20.")] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Stop after this long, with the best so far.")
    ] = None,
    noise: Annotated[
        float | None, typer.Option("--noise", help="Standard deviation, for pixels in 0..1; default: 0.5 for glyphs.")
    ] = None,
    fixed_noise: Annotated[
        bool, typer.Option("--fixed-noise", help="autoencoder: draw the noise once, as the article did.")
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Default: 128; contrastive 256, each in two views.")
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option("--optimizer", help="autoencoder: adam or adadelta (the article's).")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Default: adam .001, adadelta 1.")
    ] = None,
    validation: Annotated[
        float | None, typer.Option("--validation", help="Share held out to choose the best epoch; default: 0.02.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="float32, bfloat16, or auto: the faster here (default).")
    ] = None,
    seed: Seed = 0,
    size: Size = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the output folder.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew although there is a checkpoint.")] = False,
) -> None:
    """Train an encoder on a collection: a denoising autoencoder, or another (the only command that needs Keras)."""
    from lookalike import create_encoder, open_collection, progress
    from lookalike.encoders.serialize import CHECKPOINT, check_folder
    from lookalike.encoders.trained import TrainedEncoder
    from lookalike.selection.compare import encoder_named, shown_to

    check_folder(output)
    checkpoint = output / CHECKPOINT
    if checkpoint.exists() and not (resume or restart):
        raise UsageError(
            f"{checkpoint}: a training was begun here; add --resume to go on with it, or --restart to begin anew"
        )
    if resume and restart:
        raise UsageError("--resume and --restart exclude each other; give one")
    given = {
        "preset": preset, "epochs": epochs, "minutes": minutes, "noise": noise, "fixed_noise": fixed_noise or None,
        "batch_size": batch_size, "optimizer": optimizer, "learning_rate": learning_rate, "validation": validation,
        "precision": precision, "seed": seed,
    }  # fmt: skip
    named = encoder_named(encoder)
    if not isinstance(named, TrainedEncoder) or named.is_fitted:
        raise UsageError(f"--encoder {encoder}: nothing to train; train an autoencoder, contrastive or hashing")
    made = create_encoder(named.name, **named.params | {name: v for name, v in given.items() if v is not None})
    assert isinstance(made, TrainedEncoder)
    made.check_params()
    opened = shown_to(made, open_collection(collection, size=parse_size(size)))
    images = opened.array()
    left_out = f" ({len(opened) - len(images):,} can't be read and are left out)" if len(images) < len(opened) else ""
    progress.say(f"training '{preset or made.name}' on {len(images):,} images of {collection}{left_out}")
    with progress.training() as show:
        made.train(images, checkpoint=checkpoint, resume=resume, on_progress=show)
    made.save(output)
    best = made.history_[made.best_epoch_ - 1]
    loss = best["validation_loss"] if best["validation_loss"] is not None else best["loss"]
    why = {"time": "; the time was up", "interrupted": "; stopped by Ctrl-C, --resume goes on"}.get(made.stopped_, "")
    progress.say(f"{output}: best of {len(made.history_)} epochs is {made.best_epoch_}, loss {loss:.4f}{why}")
    progress.say(f"computed in {made.precision_}; next: lookalike index {collection} --encoder {output}")
    if made.stopped_ == "interrupted":
        raise typer.Exit(130)


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
        Path | None, typer.Option("--figure", callback=figure_name, help="Draw ten pairs, noisy above, denoised below.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Remove noise from images with a trained autoencoder."""
    import numpy as np

    from lookalike import load_encoder, open_collection, progress
    from lookalike.outputs import check_outputs, output_paths
    from lookalike.search.restore import denoise as denoise_with
    from lookalike.transforms import noise as denoising

    if clean is not None and noise:
        raise UsageError("--clean and --noise exclude each other: with --noise the source is the clean original")
    as_folder = output.is_dir() or not output.suffix
    check_outputs(
        figure, None if as_folder else output, overwrite=overwrite, inputs=[source, *([clean] if clean else [])]
    )
    loaded = load_encoder(encoder)
    size = (loaded.shape_[0], loaded.shape_[1]) if resize else None
    given = open_collection(source, size=size)
    # Where they go is settled, or refused, before the work.
    inputs = [Path(entry.source[1]) for entry in given.entries or ()]
    targets = output_paths(given.ids, output, ".png", inputs=inputs, overwrite=overwrite) if as_folder else []
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
    cleaned = denoise_with(loaded, noisy)
    report: dict[str, Any] = {"images": len(cleaned), "failed": len(failures), "output": str(output)}
    if original is not None:
        report["noisy"] = denoising.quality(noisy, original).to_json()
        report["denoised"] = denoising.quality(cleaned, original).to_json()
    _write_images(cleaned, [targets[i] for i in kept] if as_folder else [], output, overwrite)
    if figure is not None:
        from lookalike.reports import figures

        ten = slice(0, 10)
        shown = None if original is None else original[ten]
        figures.save(figures.denoising_pairs(noisy[ten], cleaned[ten], original=shown), figure, overwrite=overwrite)
    if as_json:
        print_json(report)
        return
    print(f"{output}: {len(cleaned):,} images denoised" + (f", {len(failures):,} left out" if failures else ""))
    for name in ("noisy", "denoised") if original is not None else ():
        q = report[name]
        psnr = "infinite" if q["psnr"] is None else f"{q['psnr']:.2f} dB"
        print(f"  {name:<9} MSE {q['mse']:.5f}  PSNR {psnr}  SSIM {q['ssim']:.4f}")


def _as_encoder_takes(images: Any, encoder: Encoder) -> Any:
    """Turn grey to colour or back where only that differs; another size is the encoder's to refuse."""
    import numpy as np

    from lookalike.imaging.resize import fit_to

    if images.ndim - 1 == len(encoder.shape_):
        return images
    return np.stack([fit_to(image, (*images.shape[1:3], *encoder.shape_[2:])) for image in images])


def _write_images(images: Any, targets: list[Path], output: Path, overwrite: bool) -> None:
    """Write images to a file each where there are targets, else all to one ``.npy``, or the only one to its file."""
    import numpy as np

    from lookalike import progress
    from lookalike.atomic import new_file
    from lookalike.imaging.encode import save_image

    if targets:
        with progress.counting("writing") as show:
            for i, (image, target) in enumerate(zip(images, targets, strict=True), 1):
                target.parent.mkdir(parents=True, exist_ok=True)
                save_image(image, target, overwrite=overwrite)
                show(i, len(images))
    elif output.suffix.lower() == ".npy":
        with new_file(output, overwrite=overwrite) as f:
            np.save(f, images)
    else:
        if len(images) > 1:
            raise UsageError(
                f"{output}: one file for {len(images):,} images; give a folder, or a name that ends in .npy"
            )
        save_image(images[0], output, overwrite=overwrite)
