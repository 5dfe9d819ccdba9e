"""The command ``denoise``: noise removal with a trained autoencoder."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.cli.format import print_json
from lookalike.cli.options import AsJson, Overwrite, Resize, Seed, Source, figure_name, option, takes
from lookalike.errors import CollectionError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lookalike.collections.open import Collection
    from lookalike.encoders.base import Encoder


@dataclass(frozen=True)
class DenoiseOptions:
    """What ``lookalike denoise`` takes."""

    source: Source
    encoder: Path = option("Folder of a trained autoencoder.", "--encoder", "-e", default=MISSING)
    output: Path = option(
        "A folder for .png files, an .npy file, or for a single image an image file.", "--output", "-o", default=MISSING
    )
    clean: str | None = option("The clean originals; MSE, PSNR and SSIM against them are printed.")
    noise: float = option(
        "Add noise of this standard deviation first; the source is then the clean original.", default=0.0, min=0
    )
    resize: Resize = False
    seed: Seed = 0
    figure: Path | None = option(
        "Draw ten pairs, noisy above denoised, to a .png, .svg or .pdf file.", callback=figure_name
    )
    overwrite: Overwrite = False
    as_json: AsJson = False

    @property
    def as_folder(self) -> bool:
        """Whether each image is written to a file of its own."""
        return self.output.is_dir() or not self.output.suffix


@takes(DenoiseOptions)
def denoise(options: DenoiseOptions) -> None:
    """Remove noise from images with a trained autoencoder."""
    from lookalike import load_encoder, open_collection
    from lookalike.outputs import check_outputs, output_paths
    from lookalike.search.restore import denoise as denoise_with
    from lookalike.transforms import noise as noising

    if options.clean is not None and options.noise:
        raise UsageError("--clean and --noise exclude each other: with --noise the source is the clean original")
    output = None if options.as_folder else options.output
    inputs = [options.source, *([options.clean] if options.clean else [])]
    check_outputs(options.figure, output, overwrite=options.overwrite, inputs=inputs)
    encoder = load_encoder(options.encoder)
    size = (encoder.shape_[0], encoder.shape_[1]) if options.resize else None
    collection = open_collection(options.source, size=size)
    targets: list[Path] = []
    if options.as_folder:  # settled, or refused, before the work
        sources = [Path(entry.source[1]) for entry in collection.entries or ()]
        targets = output_paths(collection.ids, options.output, ".png", inputs=sources, overwrite=options.overwrite)
    images, read = _read(collection, options.source)
    images = _as_encoder_takes(images, encoder)
    original = images if options.noise else None
    if options.clean is not None:
        originals = open_collection(options.clean, size=size)
        if len(originals) != len(collection):
            raise UsageError(
                f"{options.clean}: {len(originals):,} clean images for {len(collection):,}; give one for each, in order"
            )
        original = _as_encoder_takes(originals.take(read).array(), encoder)
    noisy = noising.add_noise(images, options.noise, options.seed) if options.noise else images
    cleaned = denoise_with(encoder, noisy)
    n_failed = len(collection) - len(read)
    report: dict[str, Any] = {"images": len(cleaned), "failed": n_failed, "output": str(options.output)}
    if original is not None:
        report["noisy"] = noising.quality(noisy, original).to_json()
        report["denoised"] = noising.quality(cleaned, original).to_json()
    _write_images(cleaned, [targets[i] for i in read] if options.as_folder else [], options.output, options.overwrite)
    if options.figure is not None:
        from lookalike.reports import figures

        ten = slice(0, 10)
        shown = None if original is None else original[ten]
        pairs = figures.denoising_pairs(noisy[ten], cleaned[ten], original=shown)
        figures.save(pairs, options.figure, overwrite=options.overwrite)
    if options.as_json:
        print_json(report)
    else:
        _show(report)


def _read(collection: Collection, source: str) -> tuple[NDArray[np.uint8], list[int]]:
    """Read all images that can be read, and return them with their positions in the collection."""
    import numpy as np

    from lookalike import progress

    batches = list(collection.batches())
    failures = [failure for batch in batches for failure in batch.failures]
    if len(failures) == len(collection):
        raise CollectionError(
            f"{source}: none of {len(collection):,} images can be read; the first: {failures[0].reason}"
        )
    for failure in failures:
        progress.say(f"left out: {failure.reason}")
    positions = np.concatenate([batch.positions for batch in batches]).tolist()
    return np.concatenate([batch.images for batch in batches]), positions


def _show(report: dict[str, Any]) -> None:
    left_out = f", {report['failed']:,} left out" if report["failed"] else ""
    print(f"{report['output']}: {report['images']:,} images denoised{left_out}")
    for name in ("noisy", "denoised"):
        if name in report:
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
