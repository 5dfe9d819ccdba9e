"""The command ``train``: the only one that needs Keras."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import typer

from lookalike.cli.options import Seed, Size, Source, Yes, fetches, option, parse_size, takes
from lookalike.errors import UsageError

#: Options that are parameters of the encoder, where they are given.
_PARAMS = (
    "preset", "epochs", "minutes", "noise", "batch_size", "optimizer", "learning_rate", "validation", "precision", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class TrainOptions:
    """What ``lookalike train`` takes."""

    collection: Source
    output: Path = option("Folder for the trained encoder and its checkpoint.", "--output", "-o", default=MISSING)
    encoder: str = option(
        "autoencoder, contrastive or hashing, optionally with parameters: contrastive:loss=vicreg.",
        "--encoder",
        "-e",
        default="autoencoder",
    )
    preset: str | None = option(
        "autoencoder: tutorial (32-32 filters), article (16-8-8), or deep (one vector per image)."
    )
    epochs: int | None = option("Passes over the images. Default: 20.")
    minutes: float | None = option("Stop after this time, with the best epoch so far.")
    noise: float | None = option("Standard deviation of the noise, for pixels in 0..1. Default: 0.5 for glyphs.")
    fixed_noise: bool = option(
        "autoencoder: draw the noise once, as the article did, not anew in each epoch.", default=False
    )
    batch_size: int | None = option("Images per step. Default: 128; contrastive: 256, each in two views.")
    optimizer: str | None = option("autoencoder: adam or adadelta (the article's).")
    learning_rate: float | None = option("Default: adam .001, adadelta 1.")
    validation: float | None = option("Share of the images held out to choose the best epoch. Default: 0.02.")
    precision: str | None = option("float32, bfloat16, or auto (the faster one on this machine). Default: auto.")
    seed: Seed = 0
    size: Size = None
    resume: bool = option("Continue from the checkpoint in the output folder.", default=False)
    restart: bool = option("Start from scratch although there is a checkpoint.", default=False)
    yes: Yes = False

    def params(self) -> dict[str, Any]:
        """Return the encoder's parameters that are given."""
        given = {name: getattr(self, name) for name in _PARAMS} | {"fixed_noise": self.fixed_noise or None}
        return {name: value for name, value in given.items() if value is not None}


@takes(TrainOptions)
@fetches
def train(options: TrainOptions) -> None:
    """Train an encoder on a collection: a denoising autoencoder, or another (the only command that needs Keras)."""
    from lookalike import create_encoder, open_collection, progress
    from lookalike.encoders.serialize import CHECKPOINT, check_folder
    from lookalike.encoders.trained import TrainedEncoder
    from lookalike.selection.compare import encoder_named
    from lookalike.selection.defaults import shown_to

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
