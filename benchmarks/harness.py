"""What every benchmark shares: arguments, interleaved rounds, the machine in words, JSON on standard output.

Run a benchmark from the top of the repository, as a module: ``python -m benchmarks.nets paper source``. What it
measured goes to standard output as one JSON object that says when, on which machine and at which commit; progress goes
to the standard error.
"""

import argparse
import datetime
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from alexnet import machine, native
from alexnet.diagnostics import bench

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = Path.home() / ".cache" / "alexnet"  # of the peers


def parser(description: str | None, rounds: int | None = None) -> argparse.ArgumentParser:
    """A parser whose help is the module's docstring, with ``--rounds`` where there are any."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if rounds is not None:
        made.add_argument("--rounds", type=int, default=rounds, help="rounds that count; each measures everything once")
    return made


def about() -> dict[str, Any]:
    """The machine, the libraries, the date and the commit of a measurement."""
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run(["git", "-C", str(ROOT), "status", "--porcelain", "-uno"], capture_output=True, text=True)
    return {
        "machine": machine.cpu_name(),
        "cores": machine.cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "kernels": native.kernels(torch.device("cpu")),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": head.stdout.strip() + ("+" if changed.stdout.strip() else ""),
    }


def emit(figures: Mapping[str, Any]) -> None:
    """Prints what was measured, the machine first."""
    print(json.dumps({**about(), **figures}, indent=1))


def note(*words: object) -> None:
    """A line of progress."""
    print(*words, file=sys.stderr, flush=True)


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """A task for ``interleaved``: the seconds of a call."""
    return lambda: seconds(work)


def interleaved(tasks: Mapping[str, Callable[[], float]], rounds: int, uncounted: int = 1) -> dict[str, list[float]]:
    """What tasks answer in rounds of each once, by name, as ``alexnet bench`` measures."""
    return bench.interleaved(
        tasks,
        rounds,
        uncounted=uncounted,
        say=lambda number: note(f"round {number} of {rounds}" if number > 0 else "a round that is not counted"),
    )


def medians(values: Mapping[Any, list[float]]) -> dict[Any, float]:
    """The median of each task's rounds."""
    return {name: statistics.median(rounds) for name, rounds in values.items()}


def matrix_rate(dtype: torch.dtype, side: int = bench.SIDE) -> Callable[[], float]:
    """A task: operations a second of one product of two square matrices, the roofline of a CPU."""
    square = torch.randn(side, side).to(dtype)
    return lambda: 2 * side**3 / seconds(lambda: square @ square)
