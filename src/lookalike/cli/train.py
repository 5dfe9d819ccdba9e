"""The command ``train``: the only one that needs Keras."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from lookalike.cli.options import Seed, Size, Source, parse_size, takes
from lookalike.errors import UsageError

#: Options that are parameters of the encoder, where they are given.
_PARAMS = (
    "preset", "epochs", "minutes", "noise", "batch_size", "optimizer", "learning_rate", "validation", "precision", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class TrainOptions:
    """What ``lookalike train`` takes."""

    collection: Source
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the trained encoder and its checkpoint.")]
    encoder: Annotated[
        str,
        typer.Option(
            "--encoder",
            "-e",
            help="autoencoder, contrastive or hashing, optionally with parameters: contrastive:loss=vicreg.",
        ),
    ] = "autoencoder"
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset", help="autoencoder: tutorial (32-32 filters), article (16-8-8), or deep (one vector per image)."
        ),
    ] = None
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the images. Default: 20.")] = None
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Stop after this time, with the best epoch so far.")
    ] = None
    noise: Annotated[
        float | None,
        typer.Option("--noise", help="Standard deviation of the noise, for pixels in 0..1. Default: 0.5 for glyphs."),
    ] = None
    fixed_noise: Annotated[
        bool,
        typer.Option(
            "--fixed-noise", help="autoencoder: draw the noise once, as the article did, not anew in each epoch."
        ),
    ] = False
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", help="Images per step. Default: 128; contrastive: 256, each in two views."),
    ] = None
    optimizer: Annotated[
        str | None, typer.Option("--optimizer", help="autoencoder: adam or adadelta (the article's).")
    ] = None
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Default: adam .001, adadelta 1.")] = (
        None
    )
    validation: Annotated[
        float | None,
        typer.Option("--validation", help="Share of the images held out to choose the best epoch. Default: 0.02."),
    ] = None
    precision: Annotated[
        str | None,
        typer.Option("--precision", help="float32, bfloat16, or auto (the faster one on this machine). Default: auto."),
    ] = None
    seed: Seed = 0
    size: Size = None
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint in the output folder.")] = False
    restart: Annotated[bool, typer.Option("--restart", help="Start from scratch although there is a checkpoint.")] = (
        False
    )

    def params(self) -> dict[str, Any]:
        """Return the encoder's parameters that are given."""
        given = {name: getattr(self, name) for name in _PARAMS} | {"fixed_noise": self.fixed_noise or None}
        return {name: value for name, value in given.items() if value is not None}


@takes(TrainOptions)
def train(options: TrainOptions) -> None:
    """Train an encoder on a collection: a denoising autoencoder, or another (the only command that needs Keras)."""
    from lookalike import create_encoder, open_collection, progress
    from lookalike.encoders.serialize import CHECKPOINT, check_folder
    from lookalike.encoders.trained import TrainedEncoder
    from lookalike.selection.compare import encoder_named, shown_to

    check_folder(options.output)
    checkpoint = options.output / CHECKPOINT
    if checkpoint.exists() and not (options.resume or options.restart):
        raise UsageError(
            f"{checkpoint}: a training was started here; add --resume to continue it, or --restart to start from scratch"
        )
    if options.resume and options.restart:
        raise UsageError("--resume and --restart exclude each other; give one")
    named = encoder_named(options.encoder)
    if not isinstance(named, TrainedEncoder) or named.is_fitted:
        raise UsageError(f"--encoder {options.encoder}: nothing to train; train an autoencoder, contrastive or hashing")
    encoder = create_encoder(named.name, **named.params | options.params())
    assert isinstance(encoder, TrainedEncoder)
    encoder.check_params()
    collection = shown_to(encoder, open_collection(options.collection, size=parse_size(options.size)))
    images = collection.array()
    n_failed = len(collection) - len(images)
    left_out = f" ({n_failed:,} can't be read and are left out)" if n_failed else ""
    progress.say(
        f"training '{options.preset or encoder.name}' on {len(images):,} images of {options.collection}{left_out}"
    )
    with progress.training() as show:
        encoder.train(images, checkpoint=checkpoint, resume=options.resume, on_progress=show)
    encoder.save(options.output)
    best = encoder.history_[encoder.best_epoch_ - 1]
    loss = best["validation_loss"] if best["validation_loss"] is not None else best["loss"]
    reasons = {"time": "; the time was up", "interrupted": "; interrupted by Ctrl-C, --resume continues"}
    why = reasons.get(encoder.stopped_, "")
    progress.say(
        f"{options.output}: best of {len(encoder.history_)} epochs is {encoder.best_epoch_}, loss {loss:.4f}{why}"
    )
    progress.say(
        f"computed in {encoder.precision_}; next: lookalike index {options.collection} --encoder {options.output}"
    )
    if encoder.stopped_ == "interrupted":
        raise typer.Exit(130)
