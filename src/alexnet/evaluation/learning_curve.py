"""The learning curve of a run, measured: errors of each of its checkpoints on one split."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import torch

from alexnet.data.dataset import Dataset
from alexnet.errors import AlexNetError, UsageError
from alexnet.evaluation.classifier import Classifier, load
from alexnet.evaluation.errors import Errors, described
from alexnet.evaluation.evaluate import evaluate
from alexnet.evaluation.outputs import Progress, offset
from alexnet.runs.checkpoint import checkpoints, find_checkpoint, kept_steps, step_of
from alexnet.runs.facts import epochs_by_step
from alexnet.runs.journal import read_metrics


@dataclasses.dataclass(frozen=True)
class Point:
    """A checkpoint of a learning curve.

    Attributes:
        step: of the training.
        epoch: epochs done by then, a fraction within one; None where the run has no journal that says it.
        kinds: what the checkpoint is: ``last``, ``best``, ``step``, or several of them.
        errors: of its weights.
    """

    step: int
    epoch: float | None
    kinds: tuple[str, ...]
    errors: Errors

    @property
    def label(self) -> str:
        """``best``, ``last``, both, or nothing, for people."""
        return ", ".join(kind for kind in ("best", "last") if kind in self.kinds)

    def describe(self, classes: int) -> dict[str, Any]:
        """As JSON; ``classes`` says of how many the errors are."""
        where = {"step": self.step, "epoch": self.epoch, "kinds": list(self.kinds)}
        return {**where, **described(self.errors, classes)}


def learning_curve(
    path: str | os.PathLike,
    dataset: Dataset | str | os.PathLike,
    *,
    split: str | None = None,
    views: int = 1,
    precision: str = "auto",
    device: torch.device | str = "cpu",
    workers: int = 2,
    progress: Progress | None = None,
    note: Callable[[Classifier, Errors], None] | None = None,
) -> list[Point]:
    """Errors of each of a run's checkpoints, in the order of their steps; one is in memory at a time.

    Args:
        path: the run's folder.
        dataset, split, views, workers: as for ``evaluate``.
        precision, device: as for ``load``.
        progress: called with images done and images in all, over all checkpoints.
        note: called with each checkpoint's net and errors when they are measured.

    Raises:
        UsageError: no such run, dataset or split; classes that differ.
        AlexNetError: no checkpoint yet, or a damaged one.
    """
    dataset = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
    split = split or dataset.split or "val"
    images, steps = len(dataset.rows(split)), kept_steps(path)
    epoch_of, points = epochs_by_step(read_metrics(path)), []
    if not steps:
        load(path)  # says why not
        raise AlexNetError(f"{path}: has no checkpoint yet")
    for i, step in enumerate(steps):
        kinds = tuple(place.name.partition("-")[0] for place in checkpoints(path) if step_of(place) == step)
        try:
            run = load(path, step, device, precision)
        except UsageError:
            if find_checkpoint(path, step):
                raise
            continue  # a training that goes on has replaced it
        count = offset(progress, i * images, len(steps) * images)
        measured = evaluate(
            run, dataset, split=split, views=views, workers=workers, keep_probabilities=False, progress=count
        )
        points.append(Point(step, epoch_of(step), kinds, measured.errors))
        if note:
            note(run, measured.errors)
        del run  # before the next one is read
    return points
