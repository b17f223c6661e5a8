"""All that changes in a training: exactly what a checkpoint keeps, and how it is read.

A checkpoint is a folder that appears whole: ``weights.safetensors``, for those that resume
``state.safetensors`` (velocities), and ``checkpoint.json`` with the step, small state and every file's SHA-256.
"""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

import torch
from torch import Tensor

from alexnet.errors import AlexNetError
from alexnet.files import Misfit, Within, checked
from alexnet.nets import weights
from alexnet.nets.network import Network
from alexnet.runs.checkpoint import REMOVE, JournalMark, check_hashes, find_checkpoint, read_checkpoint, step_of
from alexnet.runs.journal import Share
from alexnet.training.optimizer import Momentum

if TYPE_CHECKING:  # imported where there are ranks: a training of one process starts without
    from alexnet.training.parallel.division import Division

RECENT = 100  # losses that are remembered


class Note(TypedDict):
    """What is small of a training and no tensor."""

    validation: list[Share]
    best: Share | None
    recent: list[float]
    told_of_stall: bool
    fp16_scale: float
    scaler: NotRequired[dict[str, int | float]]  # since the scale may rise again
    threads: Annotated[int, Within(1, 1 << 20)]
    layout: NotRequired[str]  # of a training over several ranks, or one process
    taken: NotRequired[list[str]]
    journal: NotRequired[JournalMark]


class State:
    """All that changes in a training.

    Args:
        net: with its weights as they are initialized, on its device.
        optimizer: of its parameters.
        scaler: of the loss; switched off but with fp16.
        taken: parameters whose weights are another run's.
        division: how the net is divided over ranks; None: it is whole here.

    Attributes:
        step: steps done.
        validation: the validation error (0..1) of each measurement so far.
        best: the lowest of them; infinite before the first.
        recent: the last losses.
        told_of_stall: whether it was said that the loss does not fall.
    """

    def __init__(
        self,
        net: Network,
        optimizer: Momentum,
        scaler: torch.GradScaler,
        taken: list[str],
        division: "Division | None" = None,
    ):
        self.net, self.optimizer, self.scaler, self.taken = net, optimizer, scaler, taken
        self.division = division
        self.step = 0
        self.validation: list[float] = []
        self.best = math.inf
        self.recent: list[float] = []
        self.told_of_stall = False

    def advance(self) -> None:
        """Counts a step that was done."""
        self.step += 1

    def note_loss(self, loss: float) -> None:
        """Remembers a step's loss."""
        self.recent = [*self.recent[1 - RECENT :], loss]

    def note_stall(self) -> None:
        """Remembers that it was said that the loss does not fall."""
        self.told_of_stall = True

    def note_error(self, error: float) -> bool:
        """Remembers a validation error; whether it is the lowest so far."""
        self.validation.append(error)
        lowest = error < self.best
        self.best = min(error, self.best)
        return lowest

    def whole(self) -> dict[str, Tensor]:
        """The whole net's parameters, and the running moments of batch norms; every rank must ask."""
        own = self.net.state()
        return own if self.division is None else self.division.whole(own)

    def whole_net(self) -> Network:
        """The net with all its weights, for use beside training; every rank must ask."""
        return self.net if self.division is None else self.division.whole_net()

    def velocities(self) -> dict[str, Tensor]:
        """Of the whole net's parameters; every rank must ask."""
        own = self.optimizer.velocities
        return own if self.division is None else self.division.whole(own)

    @property
    def mean_loss(self) -> float:
        """Of the last steps."""
        return sum(self.recent) / max(1, len(self.recent))

    def note(self, journal: dict[str, Any]) -> dict[str, Any]:
        """What a checkpoint says besides its tensors.

        Args:
            journal: how long ``metrics.jsonl`` is by now.
        """
        return {
            "validation": self.validation,
            "best": self.best if math.isfinite(self.best) else None,
            "recent": self.recent,
            "told_of_stall": self.told_of_stall,
            "fp16_scale": self.scaler.get_scale(),
            "scaler": self.scaler.state_dict(),
            "threads": torch.get_num_threads(),
            "layout": "one process" if self.division is None else self.division.layout.words(),
            "taken": self.taken,
            "journal": journal,
        }

    def restore(self, saved: "Checkpoint", where: str) -> None:
        """Becomes what a checkpoint kept.

        Args:
            saved: the checkpoint.
            where: the run's folder, for messages.

        Raises:
            AlexNetError: it is of another net.
        """
        weights.put(self.net, saved.tensors, where)
        for name, velocity in self.optimizer.velocities.items():
            if name not in saved.velocities or saved.velocities[name].shape != velocity.shape:
                raise AlexNetError(f"{where}: its checkpoint has no velocity of {name}'s shape; {REMOVE}")
            velocity.copy_(saved.velocities[name])
        self.take(saved.step, saved.note)

    def take(self, step: int, note: "Note") -> None:
        """Becomes, but for its tensors, what was noted at a step."""
        self.step = step
        self.validation = list(note["validation"])
        self.best = math.inf if note["best"] is None else note["best"]
        self.recent = list(note["recent"])
        self.told_of_stall = note["told_of_stall"]
        self.taken = list(note.get("taken", []))
        if self.scaler.is_enabled():
            earlier = {**self.scaler.state_dict(), "scale": note["fp16_scale"]}  # a version that kept no more
            self.scaler.load_state_dict(note.get("scaler") or earlier)


@dataclasses.dataclass
class Checkpoint:
    """What resuming needs.

    Attributes:
        step: steps done.
        tensors: parameters by name, on the CPU.
        velocities: the optimizer's, by parameter's name.
        note: what is small, as JSON.
    """

    step: int
    tensors: dict[str, Tensor]
    velocities: dict[str, Tensor]
    note: Note


def read(folder: Path) -> Checkpoint | None:
    """The run's newest checkpoint that can be resumed from, its hashes checked, or None where there is none yet.

    Raises:
        AlexNetError: it was damaged.
    """
    kept = [place for place in map(find_checkpoint, (folder, folder), ("last", "step")) if place]
    if not kept:
        broken = sorted(Path(folder, "checkpoints").glob("last-*"))
        if broken:
            raise AlexNetError(
                f"{broken[-1]}: has no checkpoint.json, so nobody can tell what is whole in it; {REMOVE}"
            )
        return None
    return read_checkpoint(folder, max(kept, key=step_of).name.partition("-")[0], _read)


def _read(place: Path) -> Checkpoint:
    note = check_hashes(place)
    try:
        kept = checked(note["state"], Note)
    except Misfit as misfit:
        raise AlexNetError(f"{place / 'checkpoint.json'}: state.{misfit}; {REMOVE}") from misfit
    return Checkpoint(
        step=note["step"],
        tensors=weights.load_tensors(place / "weights.safetensors"),
        velocities=weights.load_tensors(place / "state.safetensors"),
        note=kept,
    )
