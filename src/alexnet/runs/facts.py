"""What a run's folder says of its training: how far it is, its best epoch, its time, its size."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from alexnet import files
from alexnet.errors import AlexNetError
from alexnet.files import Count, Misfit, Within, checked
from alexnet.files.old_names import run_recipe
from alexnet.runs.checkpoint import find_checkpoint, kept_steps, step_of
from alexnet.runs.journal import read_journal, read_metrics
from alexnet.runs.run import DAMAGED, read_description


class TimingsLine(TypedDict):
    """A line of ``timings.jsonl``."""

    step: Count
    seconds: NotRequired[Annotated[float, Within(0, 1e12)]]


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a run's folder says.

    Attributes:
        path: the run's folder.
        description: ``run.json``.
        recipe: ``recipe.json`` as one of today would say it; None of imported weights.
        checkpoints: the step of ``last`` and ``best``, as far as there are these.
        steps: of all checkpoints, ascending.
        epochs: done by the last checkpoint, a fraction within one; None where no journal says it.
        validation: lines of the journal on the validation split, up to the last checkpoint.
        best: that of them of the ``best`` checkpoint.
        seconds: of training, as far as it was noted.
        bytes: that the folder takes.
    """

    path: str
    description: dict[str, Any]
    recipe: dict[str, Any] | None
    checkpoints: dict[str, int]
    steps: list[int]
    epochs: float | None
    validation: list[dict[str, Any]]
    best: dict[str, Any] | None
    seconds: float | None
    bytes: int

    @property
    def name(self) -> str:
        """The folder's name."""
        return files.folder_name(self.path)

    @property
    def last(self) -> int | None:
        """The step of the last checkpoint."""
        return self.checkpoints.get("last")

    @property
    def epochs_asked(self) -> int | None:
        """By the recipe."""
        asked = (self.recipe or {}).get("epochs")
        return asked if isinstance(asked, int) else None


@files.of_run
def read_facts(path: str | os.PathLike) -> Facts:
    """Reads what a run's folder says, no weights.

    Raises:
        UsageError: no run there.
        AlexNetError: ``run.json`` or ``recipe.json`` is damaged.
    """
    description, recipe = read_description(path), None
    _check_preparation(Path(path, "run.json"), description["preparation"])
    if Path(path, "recipe.json").exists():
        content = files.read_json(Path(path, "recipe.json"), dict, "the run was damaged; train again")
        recipe = {key: value for key, value in run_recipe(content).items() if key != files.SEAL}
        _check_texts(Path(path, "recipe.json"), recipe)
    kept, metrics = kept_steps(path), read_metrics(path)
    newest = {kind: find_checkpoint(path, kind) for kind in ("last", "best") if kept}
    steps = {kind: step_of(checkpoint) for kind, checkpoint in newest.items() if checkpoint}
    last = steps.get("last", max(kept, default=0))
    validation = [line for line in metrics if line["split"] == "val" and line["step"] <= last]
    return Facts(
        path=files.named(os.fspath(path)),
        description=description,
        recipe=recipe,
        checkpoints=steps,
        steps=kept,
        epochs=epochs_by_step(metrics)(last),
        validation=validation,
        best=next((line for line in validation if line["step"] == steps.get("best")), None),
        seconds=training_seconds(path, last),
        bytes=_bytes(Path(path)),
    )


def _check_preparation(file: Path, preparation: dict[str, Any]) -> None:
    """Raises ``AlexNetError`` where what is said of the images cannot be. ``Preprocessing`` checks more."""
    for key, kind in {"size": int, "crop": int, "resized": str}.items():
        if not isinstance(preparation.get(key), kind):
            why = "is no number" if kind is int else "is no text"
            raise AlexNetError(f"{file}: preparation.{key}: {why if key in preparation else 'is missing'}; {DAMAGED}")


def _check_texts(file: Path, recipe: dict[str, Any]) -> None:
    """Raises ``AlexNetError`` where what runs are told apart by is no text."""
    for key in ("net", "table", "store"):
        if not isinstance(recipe.get(key), str | None):
            raise AlexNetError(f"{file}: {key}: is no text; {DAMAGED}")


def epochs_by_step(metrics: Sequence[Mapping[str, Any]]) -> Callable[[int], float | None]:
    """What says how many epochs a run had done by a step, from any line of its ``metrics.jsonl``; None without one."""
    line = next((line for line in reversed(metrics) if line["step"] and line["epoch"]), None)
    return lambda step: None if line is None else step * line["epoch"] / line["step"]


def training_seconds(path: str | os.PathLike, last: float = math.inf) -> float | None:
    """Seconds of a run's steps, without validation, up to one of them; None where none were noted."""
    seconds = []
    with contextlib.suppress(OSError):
        for _, line in read_journal(Path(path, "timings.jsonl"))[0]:
            with contextlib.suppress(Misfit):
                seconds.append(checked(line, TimingsLine).get("seconds", 0.0) if line["step"] <= last else 0.0)
    return sum(seconds) if seconds else None


def _bytes(folder: Path) -> int:
    """Of all files of a folder; those that vanish meanwhile count nothing."""
    total = files.folder_bytes(folder)
    if total is not None:
        return total
    total = 0
    for place in folder.rglob("*"):
        with contextlib.suppress(OSError, AlexNetError):
            total += place.lstat().st_size if place.is_file() else 0
    return total
