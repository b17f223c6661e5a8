"""Where the time of a training's steps goes, beside the same step alone, in one run.

    python -m benchmarks.parts cifar cifar-13-fast --steps 900 >docs/raw/parts-cifar-13.json

Trains by a named recipe and takes the time of what a step does. Every 20 steps it stops the watch and takes a step of
random images, which lie there as the net sees them, with the recipe's own optimizer: the net's arithmetic alone. The
first epoch decodes the images and is left out.
"""

import contextlib
import dataclasses
import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from alexnet import Dataset, Net, machine, train
from alexnet.data.batches import Batch
from alexnet.diagnostics.bench import random_images
from alexnet.nets.precision import keep_copies
from alexnet.training.journal import StepReport
from alexnet.training.muon import Muon
from alexnet.training.optimizer import Momentum
from alexnet.training.recipe import Recipe
from alexnet.training.recipes import RECIPES
from alexnet.training.step import Sight, Step
from benchmarks import harness

EVERY = 20  # steps of the training between those alone
PARTS = {
    "step": (Step, "__call__"),
    "of it, what the net sees of the images": (Sight, "images"),
    "of it, forward": (Step, "_forward"),
    "of it, loss and errors": (Step, "_figures"),
    "of it, update": (Step, "_update"),
}


class Enough(Exception):
    """As many steps as were asked for."""


class Watch:
    """Takes the time of a training's steps and of their parts, and now and then of a step alone.

    Args:
        alone: that step.
        first, last: steps of the training, after and up to which times are taken.
    """

    def __init__(self, alone: Callable[[], object], first: int, last: int):
        self.first, self.last = first, last
        self.times: dict[str, list[float]] = {"from step to step": [], **{part: [] for part in PARTS}, "alone": []}
        self._alone, self._going, self._left = alone, False, 0.0
        for part, (owner, name) in PARTS.items():
            setattr(owner, name, self._watched(part, getattr(owner, name)))

    def _watched(self, part: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **options: Any) -> Any:
            started = time.perf_counter()
            result = method(*args, **options)
            if self._going:
                self.times[part].append(time.perf_counter() - started)
            return result

        return call

    def __call__(self, report: StepReport) -> None:
        """Hears of a step of the training. Raises ``Enough`` after the last."""
        if self._going:
            self.times["from step to step"].append(time.perf_counter() - self._left)
        if report.step == self.last:
            raise Enough
        if report.step >= self.first and report.step % EVERY == 0:
            self._going = False
            self._alone()  # the caches are the training's
            self.times["alone"].append(harness.seconds(self._alone))
        self._going = report.step >= self.first
        self._left = time.perf_counter()


def step_alone(recipe: Recipe, classes: int) -> Callable[[], object]:
    """A step of random images with the recipe's net, batch and optimizer."""
    assert recipe.net
    assert recipe.batch_size
    net, device = Net(recipe.net, classes), torch.device("cpu")
    net.initialize(0, "he")
    precision = machine.choose_precision("auto", device)
    images = random_images(net, recipe.batch_size, device, precision)
    tensors = net.tensors()
    optimizer = Muon(tensors, groups=net.filters()) if recipe.optimizer == "muon" else Momentum(tensors)
    optimizer.keep(keep_copies(net, torch.bfloat16) if precision == "bf16" else {})
    optimizer.set_lr(dict.fromkeys(optimizer.tensors, 1e-6))
    rows = torch.arange(len(images))
    batch, step = Batch(images, rows % classes, rows), Step(net, optimizer, precision)
    return lambda: step(batch)


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("dataset")
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("--steps", type=int, required=True, help="of the training, more than an epoch has")
    options = parser.parse_args()
    machine.set_up()
    dataset = Dataset(options.dataset)
    recipe = dataclasses.replace(RECIPES[options.recipe], validate_every=1000)
    assert recipe.batch_size
    first = -(-dataset.splits["train"] // recipe.batch_size)  # steps of an epoch
    watch = Watch(step_alone(recipe, len(dataset.classes)), first, options.steps)
    with tempfile.TemporaryDirectory() as room, contextlib.suppress(Enough):
        train(dataset, Path(room) / "run", recipe, show=False, on_step=watch)
    middle = {part: statistics.median(times) for part, times in watch.times.items() if times}
    harness.emit(
        {
            "recipe": options.recipe,
            "precision": machine.choose_precision("auto", torch.device("cpu")),
            "steps": len(watch.times["from step to step"]),
            "median_milliseconds": {part: round(1e3 * seconds, 3) for part, seconds in middle.items()},
            "alone_of_step_to_step": round(middle["alone"] / middle["from step to step"], 4),
        }
    )


if __name__ == "__main__":
    main()
