"""CIFAR-10's nets in minutes: what was wanted, and what the experiment ``cifar-fast`` measured.

The table of ``docs/results.md`` that ``python -m benchmarks.reports docs/results.md`` writes.
"""

import statistics
from pathlib import Path

from alexnet.experiments.cifar import SOURCES
from alexnet.experiments.experiment import by_condition
from alexnet.experiments.raw import read_rows

GOALS = {  # points of error and seconds, wanted of two Zen 4 cores
    "cifar-quick": (26.0, 30),
    "cifar-18": (18.0, 360),
    "cifar-13": (13.5, 900),
    "cifar-11": (11.5, 2400),
}
RAW = "cifar-fast.jsonl"


def table(raw: Path) -> list[str]:
    """A line for each net: the goal, the error of all seeds, the seconds of each, on the machine where it was another.

    Args:
        raw: the folder of raw figures.
    """
    rows = by_condition(read_rows(raw / RAW))
    lines = [
        "| net | wanted (JPEG copy) | top-1 error, mean | seconds, by seed | reached both | 2012, on a GPU |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for net, (error, seconds) in GOALS.items():
        own = rows[f"{net} fast"]
        mean = 100 * statistics.mean(row["top1_error"] for row in own)
        shown = [
            f"{row['training_seconds']:,.0f}" + (f" on {row['machine']}" if "machine" in row else "") for row in own
        ]
        both = [100 * row["top1_error"] <= error and row["training_seconds"] <= seconds for row in own]
        wanted = f"{error:g}% in {f'{seconds} s' if seconds < 60 else f'{seconds // 60} minutes'}"
        reached = f"{sum(both)} of {len(both)} seeds"
        lines.append(f"| `{net}` | {wanted} | {mean:.1f}% | {', '.join(shown)} | {reached} | {SOURCES[net]} |")
    return lines
