"""Which layout ``auto`` takes: the one whose step the model predicts to be shortest on the link that the ranks have."""

import dataclasses
import time
from collections.abc import Sequence

import torch
import torch.distributed as dist

from alexnet.errors import UsageError
from alexnet.nets.precision import input_dtype
from alexnet.nets.table import Table
from alexnet.ranks import Ranks
from alexnet.runs.checkpoint import find_checkpoint, read_note
from alexnet.training.parallel.costs import WHOLE, Passes
from alexnet.training.parallel.layout import Layout, choose_layout
from alexnet.training.parallel.link import Link, measure_link
from alexnet.training.parallel.model import operations, predict
from alexnet.training.setup import Setup

GAIN = 0.1  # of a step that another layout than data must save
EFFICIENCY = 0.7  # of the rate of one large product that a step reaches (docs/speed.md: 0.72 to 0.91)
HANDLING = 1.0e-9  # seconds of a CPU's core a byte sent by gloo: 244 MB in 0.25 s without a limit (docs/scale.md)
SIDE = {"cuda": 4096}  # of the matrices whose product gives the rate; 1024 elsewhere


def candidates(
    ranks: int, table: Table, classes: int, smallest: int, grad_accumulation: int = 1, whole_filters: bool = False
) -> list[Layout]:
    """The layouts that a net, its batches and the ranks allow, ``data`` first.

    ``sharded`` saves memory, never time. Arguments as for ``choose_layout``.
    """
    allowed = []
    for name in ("data", "towers", "hybrid"):
        try:
            allowed.append(choose_layout(name, ranks, table, classes, smallest, grad_accumulation, whole_filters))
        except UsageError:
            continue
    return allowed


def sending(device: str) -> tuple[float, str]:
    """Seconds of a rank's cores a byte sent, and torch's backend, on a kind of device."""
    return (HANDLING, "gloo") if device == "cpu" else (0.0, "nccl")


def quickest(steps: Sequence[float]) -> int:
    """Which layout to take by the seconds of its step: the first one, unless another one's is a tenth shorter."""
    best = min(range(len(steps)), key=lambda i: steps[i])
    return 0 if steps[best] > (1 - GAIN) * steps[0] else best


def shortest(
    layouts: Sequence[Layout],
    table: Table,
    classes: int,
    batch: float,
    compute: float,
    link: Link,
    precision: str = "float32",
    device: str = "cpu",
    passes: Passes = WHOLE,
) -> Layout:
    """The first layout, unless another one's step is a tenth shorter; it says why.

    Args:
        layouts: at least one.
        table, classes: of the net.
        batch: images of all ranks.
        compute: seconds that a rank computes in a step.
        link: between ranks.
        precision: of the products.
        device: ``cpu``, or another kind, whose own links cost its cores nothing.
        passes: through the net.
    """
    handling, backend = sending(device)
    how = {"handling": handling, "precision": precision, "backend": backend, "passes": passes}
    steps = [predict(table, classes, one, batch, compute, link, **how).seconds for one in layouts]
    shown = ", ".join(f"{one.name} {step:.2g} s" for one, step in zip(layouts, steps))
    return dataclasses.replace(layouts[quickest(steps)], why=f"steps predicted on a link of {link.words()}: {shown}")


def rate(device: torch.device, precision: str) -> float:
    """Operations a second of a large product."""
    side = SIDE.get(device.type, 1024)
    square, best = torch.randn(side, side, device=device).to(input_dtype(precision)), float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        float((square @ square)[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - begun)
    return 2 * side**3 / best


def compute_seconds(
    ranks: Ranks, table: Table, classes: int, batch: int, precision: str, device: torch.device, passes: Passes = WHOLE
) -> float:
    """About how long a rank computes in a step, by the first rank's rate; all must call."""
    answer = torch.tensor([rate(device, precision)], dtype=torch.float64, device=device)
    dist.broadcast(answer, 0)
    done = sum(row.forward + row.backward for row in operations(table, classes, passes))
    return 2 * done * batch / ranks.size / (EFFICIENCY * float(answer[0]))


def with_layout(ranks: Ranks, setup: Setup, computed: bool = False) -> Setup:
    """A training whose layout was left to ``auto``, with the one to take, the same at all ranks; all must call.

    A training that goes on keeps the layout it was begun with, so that it stays bitwise the same.

    Args:
        ranks: the job's.
        setup: as every rank decided it.
        computed: whether what frozen layers give is computed before the training.
    """
    table, classes, device, recipe = setup.net.table, setup.net.classes, setup.device, setup.recipe
    smallest = setup.batches.smallest
    allowed = candidates(ranks.size, table, classes, smallest, recipe.grad_accumulation, recipe.whole_filters)
    begun = ranks.by_first(lambda: _begun_as(setup))
    for layout in allowed:
        if layout.words() == begun:
            return dataclasses.replace(setup, layout=dataclasses.replace(layout, why="as it was begun"))
    if len(allowed) < 2:
        return setup
    link, precision = measure_link(ranks, device), recipe.precision
    batch, passes = recipe.batch_size, Passes(setup.learning, computed, recipe.grad_accumulation)
    compute = compute_seconds(ranks, table, classes, batch, precision, device, passes)
    chosen = shortest(allowed, table, classes, batch, compute, link, precision, device.type, passes)
    return dataclasses.replace(setup, layout=chosen)


def _begun_as(setup: Setup) -> str | None:
    """The layout in the last checkpoint's words."""
    checkpoint = find_checkpoint(setup.folder)
    return None if checkpoint is None else read_note(checkpoint)["state"].get("layout")
