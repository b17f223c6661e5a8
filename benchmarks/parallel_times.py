"""Step times of layouts over two hosts by the link between them, beside the model's. Linux, root.

    python -m benchmarks.parallel_times >docs/raw/parallel-times.json
    python -m benchmarks.parallel_times --raw docs/raw/parallel-times.json

Two ranks of one thread, each in a network namespace. Rates are held by ``tbf``; delays are a wire of two TUN devices of
1 Gbit/s. All settings of one kind of link are interleaved in one pair of processes, so that a busy machine slows all of
them. Beside the layouts each round measures the step without any exchange (``alone``: half the batch on each rank, at
the same time), the sums of all gradients without any computing (``sums``), and the link as ``auto`` does. What the
net's parameters cost a rank is what ``alone`` of the smallest and the largest batch leaves for a batch of none.

With ``--raw`` nothing is measured: it writes the table of the docs, with the model's steps.
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
from alexnet.training.parallel.choice import HANDLING
from alexnet.training.parallel.layout import Layout
from alexnet.training.parallel.link import Link, measure_link
from alexnet.training.parallel.model import predict
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


def tabled(rows: list[dict]) -> list[str]:
    """Measured and predicted steps, as lines of a table."""
    alone_of: dict[int, list[float]] = {}
    for row in rows:
        alone_of.setdefault(row["batch"], []).extend(row["seconds"]["alone"])
    small, large = min(alone_of), max(alone_of)
    low, high = (statistics.median(alone_of[batch]) for batch in (small, large))
    update = max(0.0, low - small * (high - low) / (large - small))
    lines = [
        f"Of {low:.2f} s at batch {small}, the parameters take {update:.2f} s.", "",
        "| batch | link | alone | sums | data | towers | hybrid |", "| --- | --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for row in rows:
        seconds = {name: statistics.median(values) for name, values in row["seconds"].items()}
        link = Link(statistics.median(row["latency"]), statistics.median(row["bandwidth"]))
        compute, cells = seconds["alone"] - update, []
        for name, layout in LAYOUTS.items():
            step = predict(
                load_table("paper"), 1000, layout, row["batch"], compute, link, update=update, handling=HANDLING
            ).seconds
            cells.append(f"{seconds[name]:.2f} / {step:.2f}" if name in seconds else "")
        sums = f"{seconds['sums']:.2f}" if "sums" in seconds else ""
        named = f"1 Gbit/s, {row['link']}" if row["kind"] == "delay" else row["link"]
        lines.append(f"| {row['batch']} | {named} | {seconds['alone']:.2f} | {sums} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = harness.parser(__doc__, rounds=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--plan", help=argparse.SUPPRESS)
    parser.add_argument("--raw", type=Path, help="what was measured before; writes the table of it")
    options = parser.parse_args()
    if options.raw:
        print(*tabled(json.loads(options.raw.read_text(encoding="utf-8"))["rows"]), sep="\n")
    elif options.plan:
        rows = measured(*json.loads(options.plan))
        if os.environ["RANK"] == "0":
            print(json.dumps(rows))
    else:
        harness.emit(measure(options.rounds, options.batches))


if __name__ == "__main__":
    main()
