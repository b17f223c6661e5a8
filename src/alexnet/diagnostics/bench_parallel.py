"""What a cluster's link and its ranks make of each layout: the link, a step of each, and which one to take."""

from collections.abc import Callable

import torch

from alexnet.data.batches import Batch
from alexnet.nets.precision import input_dtype, keep_copies
from alexnet.nets.table import Table
from alexnet.ranks import Ranks
from alexnet.training.optimizer import Momentum
from alexnet.training.parallel.division import Division
from alexnet.training.parallel.layout import Layout
from alexnet.training.step import Step


def layout_step(
    ranks: Ranks, layout: Layout, table: Table, classes: int, batch: int, precision: str, device: torch.device
) -> Callable[[], object]:
    """What takes the trainer's step under a layout, on random images that lie on the device.

    Args:
        ranks: the job's; all must call what comes back alike.
        layout: over them.
        table, classes: of the whole net.
        batch: images of all ranks.
        precision: of products.
        device: of this rank.
    """
    division = Division(ranks, layout, table, classes, device)
    net = division.net.to(device)
    with torch.no_grad():
        for number, tensor in enumerate(net.state().values()):
            tensor.normal_(0.0, 0.01, generator=torch.Generator(device).manual_seed(number))
    division.settle()
    optimizer = Momentum(net.tensors(), lr=1e-6)
    if precision == "bf16" and layout.name != "sharded":
        optimizer.keep(keep_copies(net, torch.bfloat16))
    rows = torch.arange(batch)[division.share.of(range(batch)).start : division.share.of(range(batch)).stop]
    images = torch.randn(len(rows), *table.input, device=device)
    images = images.to(input_dtype(precision), memory_format=torch.channels_last)
    shared = Batch(images, (rows % classes).to(device), rows.to(device), batch)
    step = Step(net, optimizer, precision, sums=division.sums({**optimizer.tensors, **optimizer.copies}))
    return lambda: step(shared)
