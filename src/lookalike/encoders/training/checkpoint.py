"""The state of a training at the end of an epoch, in memory and in its checkpoint file."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.atomic import replace_file
from lookalike.errors import EncoderError, first_line

if TYPE_CHECKING:
    from lookalike.encoders.training.loop import Plan

_CHECKPOINT_FORMAT = 1


@dataclass(frozen=True)
class Epoch:
    """What one epoch did; ``images`` is smaller than the collection where time or Ctrl-C ended it."""

    epoch: int
    loss: float
    validation_loss: float | None
    images: int
    seconds: float
    images_per_second: float


def check_checkpoint(path: Path) -> None:
    """Refuse a file in a checkpoint's place that no training of ours wrote.

    Parameters
    ----------
    path : Path
        Where a checkpoint is to be; it needn't exist.

    Raises
    ------
    EncoderError
        If something else lies there, or it can't be read.
    """
    if not os.path.lexists(path):
        return
    try:
        if path.is_symlink() or not path.is_file():
            raise ValueError("no plain file")
        with np.load(path, allow_pickle=False) as arrays:
            json.loads(str(arrays["facts"]))["signature"]
    except OSError as e:
        raise EncoderError(f"{path}: can't be read: {e.strerror or e}; nothing was changed") from e
    except Exception as e:  # a file of any kind raises any kind
        raise EncoderError(
            f"{path}: not a checkpoint of lookalike's, or a damaged one ({first_line(e)}); move it away, or take another "
            "folder"
        ) from e


class TrainingState:
    """The state of a training at the end of an epoch: weights, optimizer, history and the best epoch."""

    def __init__(self, network: Any, learner: Any, signature: str, checkpoint: Path | None) -> None:
        self.network, self.learner = network, learner
        self._signature, self._checkpoint = signature, checkpoint
        self.history: list[Epoch] = []
        self.best_epoch = 0
        self._best_loss = np.inf
        self._best: list[NDArray[np.float32]] = []

    def record(self, epoch: Epoch, whole: bool = True) -> None:
        """Take an epoch into the history, keep its weights if it is the best, and save the checkpoint if it is whole."""
        self.history.append(epoch)
        loss = epoch.loss if epoch.validation_loss is None else epoch.validation_loss
        if loss < self._best_loss or not self._best:
            weights = [w.copy() for w in self._average()] or self.network.get_weights()
            self.best_epoch, self._best_loss, self._best = epoch.epoch, loss, weights
        if whole and self._checkpoint is not None:
            self._save(self._checkpoint)

    def _average(self) -> list[NDArray[np.float32]]:
        """Return the mean of the weights over the last steps, of a learner that keeps one."""
        average: list[NDArray[np.float32]] = getattr(self.learner, "average", [])
        return average

    def restore_best(self) -> None:
        """Give the network the weights of the best epoch."""
        self.network.set_weights(self._best)

    def _save(self, path: Path) -> None:
        facts = {
            "format": _CHECKPOINT_FORMAT,
            "signature": self._signature,
            "history": [asdict(e) for e in self.history],
            "best_epoch": self.best_epoch,
            "best_loss": self._best_loss,
        }
        arrays = {f"weight_{i}": w for i, w in enumerate(self.network.get_weights())}
        arrays |= {f"best_{i}": w for i, w in enumerate(self._best)}
        arrays |= {f"average_{i}": w for i, w in enumerate(self._average())}
        arrays |= {f"optimizer_{i}": np.asarray(v) for i, v in enumerate(self._optimizer_values())}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replace_file(path) as f:
                np.savez(f, facts=np.array(json.dumps(facts)), **arrays)
        except OSError as e:
            raise EncoderError(
                f"{path}: the checkpoint can't be written: {e.strerror or e}; free space, then go on with --resume"
            ) from e

    def load(self) -> None:
        """Continue from the checkpoint file; raise EncoderError if it is of another training or can't be read."""
        path = self._checkpoint
        assert path is not None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                facts = json.loads(str(arrays["facts"]))
                if facts["format"] != _CHECKPOINT_FORMAT or facts["signature"] != self._signature:
                    raise EncoderError(
                        f"{path}: a checkpoint of another training (other images, preset, noise, optimizer or seed); "
                        "repeat the options it was started with, or begin anew with --restart"
                    )
                weights = self.network.get_weights()
                self.network.set_weights([arrays[f"weight_{i}"] for i in range(len(weights))])
                self._best = [arrays[f"best_{i}"] for i in range(len(weights))]
                for i, weight in enumerate(self._average()):
                    weight[...] = arrays[f"average_{i}"]
                for i, variable in enumerate(self.learner.optimizer.variables):
                    variable.assign(arrays[f"optimizer_{i}"])
        except EncoderError:
            raise
        except Exception as e:  # a damaged zip raises many kinds
            raise EncoderError(
                f"{path}: not a checkpoint that can be read ({first_line(e)}); begin anew with --restart"
            ) from e
        self.history = [Epoch(**e) for e in facts["history"]]
        self.best_epoch, self._best_loss = facts["best_epoch"], facts["best_loss"]

    def _optimizer_values(self) -> list[Any]:
        from keras import ops

        return [ops.convert_to_numpy(v) for v in self.learner.optimizer.variables]


def training_signature(network: Any, images: NDArray[np.uint8], plan: Plan) -> str:
    """Return a hash of all that makes two trainings the same, without their length and precision.

    Parameters
    ----------
    network : keras.Model
        Its name says how it is built.
    images : ndarray
        What is learnt from.
    plan : Plan
        How.

    Returns
    -------
    str
        Hexadecimal digits.
    """
    ours = {k: v for k, v in asdict(plan).items() if k not in ("epochs", "minutes", "precision")}
    digest = hashlib.sha256(json.dumps([network.name, list(images.shape), ours]).encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()
