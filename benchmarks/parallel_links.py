"""Exchanges of a step over real links beside a device that computes by itself, against the model. Linux, root.

    python -m benchmarks.parallel_links >docs/raw/parallel-links.json

As ``parallel_times``, but nothing is computed: each rank sleeps for as long as a device would compute, layer by layer,
and exchanges what the layout says by the same operations. So the cores are free, as beside a GPU, and a busy machine
matters little. What a step's exchanges cost, and how much of them the backward pass hides, is measured; the seconds of
computing are given. The model has the link as ``measure_link`` sees it in the same round.
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

from alexnet.nets.costs import costs
from alexnet.nets.table_file import load_table
from alexnet.ranks import joined
from alexnet.training.parallel.costs import exchanges
from alexnet.training.parallel.layout import Layout
from alexnet.training.parallel.link import Link, measure_link
from alexnet.training.parallel.model import predict
from benchmarks import harness, hosts
from benchmarks.parallel_times import DELAYS, LAYOUTS, LINK_NUMBERS, RATES, set_link

BATCH, COMPUTE = 128, (0.5, 3.0)  # images; seconds that a device takes for a step


def emulated(layout: Layout, compute: float) -> Callable[[], None]:
    """A step of the paper's net whose computing is sleep."""
    table = load_table("paper")
    parts = exchanges(table, 1000, layout, BATCH / layout.data)
    maps = [torch.zeros(int(part.sent)) for part in parts if part.kind == "maps"]  # a quarter of it is sent
    sums = {part.layer: [] for part in parts if part.kind == "gradients"}
    for part in parts:
        if part.kind == "gradients":
            sums[part.layer].append(torch.zeros(int(part.sent) // 4))  # two ranks send each byte once
    layers = costs(table, 1000)
    forward = sum(row.multiply_adds for row in layers)
    total = 3 * forward - layers[0].multiply_adds
    rank, figures = dist.get_rank(), torch.zeros(3)

    def step() -> None:
        time.sleep(compute * forward / total)
        for numbers in maps:
            count = len(numbers) // 4
            sizes = [0 if i == rank else count for i in range(2)]
            dist.all_to_all_single(torch.empty(count), numbers[:count], sizes, sizes)
        works = []
        for row in reversed(layers):
            time.sleep(compute * row.multiply_adds * (1 if row is layers[0] else 2) / total)
            works += [dist.all_reduce(numbers, async_op=True) for numbers in sums.get(row.name, [])]
        works += [dist.all_reduce(numbers, async_op=True) for numbers in sums.get("small", [])]
        for work in works:
            work.wait()
        for _ in range(2):
            dist.all_reduce(figures)

    return step


def measured(kind: str, rounds: int) -> list[dict]:
    """Every setting of one kind of link, in this rank; seconds of the slower rank."""
    settings, table = RATES if kind == "rate" else DELAYS, load_table("paper")
    with joined() as ranks:
        tasks = {(name, compute): emulated(LAYOUTS[name], compute) for name in LAYOUTS for compute in COMPUTE}
        times = {(link, *task): [] for link in settings for task in tasks}
        links: dict[str, list[Link]] = {link: [] for link in settings}
        for number in range(rounds + 1):
            for link, value in settings.items():
                set_link(kind, ranks, value)
                seen = measure_link(ranks, torch.device("cpu"), LINK_NUMBERS)
                for task, step in tasks.items():
                    dist.barrier()
                    seconds = max(ranks.gather(harness.seconds(step)))
                    if number:
                        times[link, *task].append(seconds)
                if number:
                    links[link].append(seen)
            harness.note(kind, f"round {number} of {rounds}")
    rows = []
    for (name, layout, compute), seconds in times.items():
        link = Link(
            statistics.median(seen.latency for seen in links[name]),
            statistics.median(seen.bandwidth for seen in links[name]),
            statistics.median(seen.direct or seen.bandwidth for seen in links[name]),
        )
        step = predict(table, 1000, LAYOUTS[layout], BATCH, compute, link)
        median = statistics.median(seconds)
        rows.append({
            "kind": kind, "link": name, "layout": layout, "compute": compute, "latency": link.latency,
            "bandwidth": link.bandwidth, "direct": link.direct, "rounds": seconds, "seconds": median,
            "predicted": step.seconds,
            "miss": step.seconds / median - 1, "hidden": 1 - (median - compute) / step.link,
        })  # fmt: skip
    return rows


def main() -> None:
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kind:
        rows = measured(options.kind, options.rounds)
        if os.environ["RANK"] == "0":
            print(json.dumps(rows))
        return
    rows = []
    with tempfile.TemporaryDirectory() as room:
        wire = Path(room, "wire")
        wire.write_text("0 1000")
        os.environ["WIRE"] = str(wire)
        for kind in ("rate", "delay"):
            words = ["-m", "benchmarks.parallel_links", "--kind", kind, "--rounds", str(options.rounds)]
            with hosts.bridged(2) if kind == "rate" else hosts.wired(wire) as spaces:
                rows += json.loads(hosts.on_hosts(spaces, words, 1800))
    harness.emit({"net": "paper", "classes": 1000, "ranks": 2, "batch": BATCH, "rows": rows})


if __name__ == "__main__":
    main()
