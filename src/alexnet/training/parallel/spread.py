"""From the one process that reads and writes a run's folder to all ranks: each gets its part of what it read."""

import dataclasses
from typing import Any, cast

import torch
import torch.distributed as dist
from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

from alexnet.data.preprocessing import Preprocessing
from alexnet.ranks import Ranks
from alexnet.training.optimizer import flat
from alexnet.training.parallel.division import Division
from alexnet.training.setup import Setup
from alexnet.training.start import optimizer_of
from alexnet.training.state import Note, State


def spread(setup: Setup, ranks: Ranks, read: tuple[State, Preprocessing] | None) -> tuple[Setup, State, Preprocessing]:
    """A training divided over ranks.

    Args:
        setup: as every rank decided it.
        ranks: the job's.
        read: at the first rank, how the training starts.

    Returns:
        The same training as this rank sees it: its part of the net, of each batch and of what changes.
    """
    division = Division(ranks, setup.layout, setup.net.table, setup.net.classes, setup.device)
    note: dict[str, Any] | None = None
    if read is not None:
        state = read[0]
        note = {**state.note({}), "step": state.step, "preprocessing": read[1]}
    note = ranks.by_first(lambda: note)
    assert note is not None
    net = division.net.to(setup.device, setup.dtype)
    whole = None if read is None else read[0]
    _send(division, net.state(), None if whole is None else whole.net.state())
    division.settle()
    setup = dataclasses.replace(setup, net=net, batches=setup.batches.shared(division.share))
    optimizer = optimizer_of(setup)
    if note["step"]:
        _send(division, optimizer.velocities, None if whole is None else whole.optimizer.velocities)
    if setup.recipe.grad_accumulation == 1:  # parts' gradients add up in float32
        optimizer.keep(division.copies(setup.recipe.precision))
    scaler = ShardedGradScaler(setup.device.type, enabled=setup.recipe.precision == "fp16")
    own = State(net, optimizer, scaler, note["taken"], division)
    own.take(note["step"], cast(Note, note))
    return setup, own, note["preprocessing"]


def _send(division: Division, own: dict[str, torch.Tensor], whole: dict[str, torch.Tensor] | None) -> None:
    """The first rank's whole tensors, one after another, to every rank, which keeps its part."""
    for name, part in own.items():
        tensor = division.room(name, part) if whole is None else whole[name].detach().clone()
        dist.broadcast(flat(tensor), 0)
        with torch.no_grad():
            part.copy_(division.own(name, tensor))
