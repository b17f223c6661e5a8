"""A few steps of a training that leave nothing behind: how long it will take, and how much memory."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Mapping
from typing import Any

import torch

from alexnet import files, machine
from alexnet.data.batches import between
from alexnet.data.dataset import Dataset
from alexnet.errors import check_threads
from alexnet.training.options import Options
from alexnet.training.plan import check_disk, plan, surprises
from alexnet.training.recipe import Recipe
from alexnet.training.setup import Setup, set_up_given
from alexnet.training.start import rehearsed, training_step

STEPS = 4  # measured, after one that is not


@dataclasses.dataclass(frozen=True)
class DryRun:
    """What a training would be.

    Attributes:
        plan: what is trained, on what, how long, by which recipe, where; a text each.
        warnings: what about it is probably not meant.
        steps: of the whole training.
        seconds_per_step: measured.
        seconds: for all steps; without measuring the validation images.
        memory: bytes that this process had at most; None where the system does not say.
        device_memory: bytes at most on a GPU; None on others.
    """

    plan: Mapping[str, str]
    warnings: list[str]
    steps: int
    seconds_per_step: float
    seconds: float
    memory: int | None
    device_memory: int | None


@machine.as_imported()
def dry_run(
    dataset: Dataset | str | os.PathLike,
    folder: str | os.PathLike,
    recipe: Recipe | None = None,
    *,
    device: str = "auto",
    threads: int | None = None,
    start_from: str | os.PathLike | None = None,
    **options: Any,
) -> DryRun:
    """Decides and checks all that ``train`` would with the same arguments, trains a few steps, and writes nothing.

    Args:
        dataset, folder, recipe, device, threads, start_from: as for ``train``.
        options: ``workers``, ``keep_every``, ``keep``, ``log``, as for ``train``.

    Raises:
        UsageError: as ``train``.
        AlexNetError: as ``train``; the disk has no room for the checkpoints.
    """
    check_threads("--threads", threads)
    settings = Options(**options)
    setup = set_up_given(dataset, files.read_copy(folder), recipe, device, start_from)
    check_disk(setup, settings)
    with machine.torch_threads(threads):
        described = plan(setup, settings)
        seconds = _seconds_per_step(setup, settings)
    cuda = setup.device.type == "cuda"
    return DryRun(
        plan=described,
        warnings=surprises(setup),
        steps=setup.steps,
        seconds_per_step=seconds,
        seconds=seconds * setup.steps,
        memory=machine.peak_memory(),
        device_memory=torch.cuda.max_memory_allocated(setup.device) if cuda else None,
    )


def _seconds_per_step(setup: Setup, options: Options) -> float:
    """The mean of a few steps, after one that makes what later ones use."""
    state, preprocessing = rehearsed(setup)
    update = training_step(setup, preprocessing, state.optimizer, state.scaler, options)
    rates = setup.recipe.learning_rates(setup.batches.steps)
    state.optimizer.set_lr(rates.by_name(rates.lr(0), 0.0, state.optimizer.tensors, {}))
    ends = [time.monotonic()]
    steps = range(min(setup.steps, STEPS + 1))
    decoders = options.decoders(setup.dataset.size)
    with contextlib.closing(between(setup.batches.load, steps, decoders, setup.batches.fetch)) as batches:
        for step, batch in enumerate(batches):
            float(update(batch, step).loss)  # waits for the device
            ends.append(time.monotonic())
    measured = ends[1:] if len(ends) > 2 else ends
    return (measured[-1] - measured[0]) / (len(measured) - 1)
