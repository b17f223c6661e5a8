"""Step times of layouts over two hosts by the link between them, beside the model's. Linux, root.

    python -m benchmarks.parallel_times >docs/raw/parallel-times.json

Two ranks of one thread, each in a network namespace. Rates are held by ``tbf``; delays are a wire of two TUN devices of
1 Gbit/s. All settings of one kind of link are interleaved in one pair of processes, so that a busy machine slows all of
them. Beside the layouts each round measures the step without any exchange (``alone``: half the batch on each rank, at
the same time), the sums of all gradients without any computing (``sums``), and the link as ``auto`` does.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from alexnet.diagnostics.bench_parallel import layout_step
from alexnet.nets.table_file import load_table
from alexnet.ranks import Ranks, alone, joined
from alexnet.training.parallel.layout import Layout
from alexnet.training.parallel.link import measure_link
from benchmarks import harness, hosts

RATES = {"unlimited": None, "4 Gbit/s": "4gbit", "1 Gbit/s": "1gbit"}
DELAYS = {"0 ms": 0.0, "0.5 ms": 0.5, "5 ms": 5.0}  # one way, at 1 Gbit/s
LAYOUTS = {"data": Layout("data", 2), "towers": Layout("towers", 1, 2), "hybrid": Layout("hybrid", 2, 2)}
LINK_NUMBERS = 4 << 20  # of the sums that give the bandwidth: the layers' sums are as large


def sums_of(numbers: list[int]) -> Callable[[], object]:
    """What sums tensors of so many float32 numbers, as the data layout sums gradients."""
    tensors = [torch.zeros(count) for count in numbers]

    def work() -> None:
        for handle in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
            handle.wait()

    return work


def tasks_of(ranks: Ranks, batch: int, names: list[str]) -> dict[str, Callable[[], object]]:
    """What is measured under each setting."""
    table, device = load_table("paper"), torch.device("cpu")
    tasks = {
        name: layout_step(ranks, LAYOUTS[name], table, 1000, batch, "float32", device)
        for name in names if name in LAYOUTS
    }  # fmt: skip
    shapes = [shape for row in table.sized(1000) for shape in row.parameters.values()]
    tasks["alone"] = layout_step(alone(), Layout("data", 1), table, 1000, batch // 2, "float32", device)
    if "sums" in names:
        tasks["sums"] = sums_of([torch.Size(shape).numel() for shape in reversed(shapes)])
    return tasks


def measured(kind: str, batch: int, rounds: int, names: list[str], only: list[str]) -> list[dict]:
    """Every setting of one kind of link, in this rank; seconds of the slower rank."""
    settings = {name: value for name, value in (RATES if kind == "rate" else DELAYS).items() if name in only}
    with joined() as ranks:
        tasks = tasks_of(ranks, batch, names)
        times: dict[tuple[str, str], list[float]] = {(link, name): [] for link in settings for name in tasks}
        links: dict[str, list[list[float]]] = {link: [] for link in settings}
        for number in range(rounds + 1):
            for link, value in settings.items():
                set_link(kind, ranks, value)
                seen = measure_link(ranks, torch.device("cpu"), LINK_NUMBERS)
                for name, task in tasks.items():
                    dist.barrier()
                    seconds = max(ranks.gather(harness.seconds(task)))
                    if number:
                        times[link, name].append(seconds)
                if number:
                    links[link].append([seen.latency, seen.bandwidth])
            medians = {" ".join(key): round(statistics.median(values), 2) for key, values in times.items() if values}
            harness.note(kind, batch, f"round {number} of {rounds}", medians)
    return [
        {"kind": kind, "link": link, "batch": batch, "seconds": {name: times[link, name] for name in tasks},
         "latency": [latency for latency, _ in links[link]], "bandwidth": [width for _, width in links[link]]}
        for link in settings
    ]  # fmt: skip


def set_link(kind: str, ranks: Ranks, value: str | float | None) -> None:
    """Makes the link what it shall be."""
    dist.barrier()
    if kind == "rate":
        hosts.limit(value if isinstance(value, str) else None)
    elif ranks.first:
        Path(os.environ["WIRE"]).write_text(f"{value} 1000")
        time.sleep(0.3)
    dist.barrier()


def measure(rounds: int, batches: list[int]) -> dict:
    """Rates and delays at small batches, rates at the paper's."""
    rows, every = [], ["data", "towers", "hybrid", "sums"]
    plans = [
        ("rate", 8, rounds, every, list(RATES)),
        ("delay", 8, rounds, every, list(DELAYS)),
        ("rate", 32, rounds, every, list(RATES)),
        ("delay", 32, rounds, every, list(DELAYS)),
        ("rate", 128, rounds, ["towers", "data"], ["unlimited", "1 Gbit/s"]),
    ]
    with tempfile.TemporaryDirectory() as room:
        wire = Path(room, "wire")
        wire.write_text("0 1000")
        os.environ["WIRE"] = str(wire)
        for plan in (plan for plan in plans if plan[1] in batches):
            with hosts.bridged(2) if plan[0] == "rate" else hosts.wired(wire) as spaces:
                rows += json.loads(
                    hosts.on_hosts(spaces, ["-m", "benchmarks.parallel_times", "--plan", json.dumps(plan)], 1800)
                )
    return {"net": "paper", "classes": 1000, "ranks": 2, "rounds": rounds, "rows": rows}


def main() -> None:
    parser = harness.parser(__doc__, rounds=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--plan", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plan:
        rows = measured(*json.loads(options.plan))
        if os.environ["RANK"] == "0":
            print(json.dumps(rows))
    else:
        harness.emit(measure(options.rounds, options.batches))


if __name__ == "__main__":
    main()
