"""What a cluster's link and its ranks make of each layout: the link, a step of each, and which one to take."""

import dataclasses
import statistics
import time
from collections.abc import Callable

import torch
import torch.distributed as dist

from alexnet import machine
from alexnet.data.batches import Batch
from alexnet.diagnostics.bench import interleaved
from alexnet.errors import UsageError
from alexnet.nets.precision import input_dtype
from alexnet.nets.table import Table
from alexnet.nets.table_file import load_table
from alexnet.ranks import Ranks, alone, joined
from alexnet.training.optimizer import Momentum
from alexnet.training.parallel.choice import candidates, quickest, sending
from alexnet.training.parallel.costs import WHOLE, Passes, bytes_sent
from alexnet.training.parallel.division import Division
from alexnet.training.parallel.layout import Layout, choose_layout
from alexnet.training.parallel.link import Link, measure_link
from alexnet.training.parallel.model import predict
from alexnet.training.step import Step


def layout_step(
    ranks: Ranks,
    layout: Layout,
    table: Table,
    classes: int,
    batch: int,
    precision: str,
    device: torch.device,
    passes: Passes = WHOLE,
) -> Callable[[], object]:
    """What takes the trainer's step under a layout, on random images that lie on the device.

    Args:
        ranks: the job's; all must call what comes back alike.
        layout: over them.
        table, classes: of the whole net.
        batch: images of all ranks.
        precision: of products.
        device: of this rank.
        passes: through the net.
    """
    division = Division(ranks, layout, table, classes, device)
    net = division.net.to(device)
    with torch.no_grad():
        for number, tensor in enumerate(net.state().values()):
            tensor.normal_(0.0, 0.01, generator=torch.Generator(device).manual_seed(number))
    division.settle()
    optimizer = Momentum(net.tensors(), lr=1e-6)
    if passes.parts == 1:
        optimizer.keep(division.copies(precision))
    own = division.share.of(range(batch))
    rows = torch.arange(own.start, own.stop)
    images = torch.randn(len(rows), *table.input, device=device)
    images = images.to(input_dtype(precision), memory_format=torch.channels_last)
    if passes.computed and passes.learning is not None:
        with torch.no_grad():
            images = net.eval().before(images, passes.learning)
    shared = Batch(images, (rows % classes).to(device), rows.to(device), batch)
    sums = division.sums({**optimizer.tensors, **optimizer.copies})
    how = {"parts": passes.parts, "learning": passes.learning, "computed": passes.computed}
    step = Step(net, optimizer, precision, sums=sums, **how)
    return lambda: step(shared)


@dataclasses.dataclass(frozen=True)
class LayoutBench:
    """A layout's step.

    Attributes:
        layout: in words.
        seconds: of a step, the median over the rounds; of the slowest rank.
        rounds: each round's.
        sent: bytes that a rank sends in a step, by the formula.
        predicted: seconds, by the model, from the link and a step without exchange.
    """

    layout: str
    seconds: float
    rounds: list[float]
    sent: float
    predicted: float


@dataclasses.dataclass(frozen=True)
class ParallelBench:
    """What ``bench --parallel`` measured.

    Attributes:
        net, batch, ranks, device, precision: what was measured.
        latency: of a message, seconds.
        bandwidth: bytes a second that a rank sends while it receives as many.
        alone: seconds of a rank's part of a step without any exchange.
        layouts: those that apply.
        best: the layout to take, as ``--parallel`` takes it: data, unless another one's step is a tenth shorter.
    """

    net: str
    batch: int
    ranks: int
    device: str
    precision: str
    latency: float
    bandwidth: float
    alone: float
    layouts: list[LayoutBench]
    best: str


def bench_parallel(
    net: str = "paper",
    *,
    batch: int = 128,
    classes: int = 1000,
    rounds: int = 7,
    device: str = "auto",
    threads: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> ParallelBench:
    """Measures the link between the ranks of a job, and a training step under each layout that applies.

    Args:
        net: a net's name or table.
        batch: images of all ranks.
        classes: units of the last layer.
        rounds: how often each step is measured, interleaved, after one round that does not count.
        device: ``auto``, ``cpu``, ``cuda``.
        threads: of torch; those that it has if not given.
        say: is told what is being done.

    Raises:
        UsageError: one process; no such net or device; a batch smaller than the ranks.
    """
    with joined() as ranks, machine.torch_threads(threads):
        if ranks.size == 1:
            raise UsageError(
                "--parallel: needs two processes or more; start it by torchrun on every machine "
                "(torchrun --nproc-per-node 2 -m alexnet bench --parallel)"
            )
        table, where = load_table(net), machine.choose_device(device)
        precision = machine.choose_precision("auto", where)
        choose_layout("data", ranks.size, table, classes, batch)  # refuses what cannot be
        layouts = candidates(ranks.size, table, classes, batch)
        layouts.append(choose_layout("sharded", ranks.size, table, classes, batch))
        say("measuring the link")
        link = measure_link(ranks, where)
        say(f"building {len(layouts)} layouts")
        mine = -(-batch // ranks.size)
        tasks = {one.name: layout_step(ranks, one, table, classes, batch, precision, where) for one in layouts}
        tasks["alone"] = layout_step(alone(), Layout("data", 1), table, classes, mine, precision, where)
        values = interleaved(
            {name: _timed(ranks, where, task) for name, task in tasks.items()},
            rounds,
            say=lambda number: say(f"round {number} of {rounds}" if number else "first round, not counted"),
        )
        computed = statistics.median(values["alone"])
        measured = [
            _row(one, values[one.name], table, classes, batch, computed, link, precision, where) for one in layouts
        ]
        best = layouts[quickest([row.seconds for row in measured])].name
        return ParallelBench(
            net, batch, ranks.size, where.type, precision, link.latency, link.bandwidth, computed, measured, best
        )


def _row(
    layout: Layout,
    rounds: list[float],
    table: Table,
    classes: int,
    batch: int,
    computed: float,
    link: Link,
    precision: str,
    device: torch.device,
) -> LayoutBench:
    handling, backend = sending(device.type)
    predicted = predict(
        table, classes, layout, batch, computed, link, handling=handling, precision=precision, backend=backend
    )
    sent = bytes_sent(table, classes, layout, batch / layout.data, precision, backend)
    return LayoutBench(layout.words(), statistics.median(rounds), rounds, sent, predicted.seconds)


def _timed(ranks: Ranks, device: torch.device, task: Callable[[], object]) -> Callable[[], float]:
    """Measures a step: seconds of the slowest rank, so that all ranks decide alike."""

    def seconds() -> float:
        dist.barrier()
        machine.synchronize(device)
        begun = time.perf_counter()
        task()
        machine.synchronize(device)
        return max(ranks.gather(time.perf_counter() - begun))

    return seconds
