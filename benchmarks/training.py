"""What real training costs beside its step: the data path, the checkpoints, the start.

    python -m benchmarks.training DATASET --rounds 3 >docs/raw/training.json

Interleaved rounds of one epoch each through the same trainer: from the dataset; from the same batches, made before; and
from these again with a checkpoint written at every step that is a power of two. Then the loader alone in one thread
and in more, and the time from starting ``alexnet train`` to the end of its first step, with the compiled library in the
cache and without.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from alexnet import Dataset, Recipe, machine, train
from alexnet.data.batches import Batches
from benchmarks import harness
from benchmarks.loader import loader_rate

FIRST_STEP = """
import os, sys, time
from alexnet.training.step import Step
step = Step.__call__
def first(self, batch, number):
    step(self, batch, number)
    print(time.time(), flush=True)
    os._exit(0)
Step.__call__ = first
from alexnet.cli import main
sys.exit(main(["train", *sys.argv[1:], "--batch-size", "128"]))
"""


def epoch(dataset: Dataset, recipe: Recipe, room: Path, **options: object) -> dict:
    """An epoch's figures, validation left out."""
    train(dataset, room, recipe, show=False, **options)  # pyright: ignore[reportArgumentType]
    return json.loads((room / "timings.jsonl").read_text().splitlines()[0])


def first_step(dataset: str, cache: str | None) -> float:
    """Seconds from starting the command to the end of its first step."""
    with tempfile.TemporaryDirectory() as room:
        environment = dict(os.environ) if cache is None else {**os.environ, "XDG_CACHE_HOME": cache}
        begun = time.time()
        command = [sys.executable, "-c", FIRST_STEP, dataset, f"{room}/run"]
        said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
        return float(said) - begun


def main() -> None:
    parser = harness.parser(__doc__, rounds=3)
    parser.add_argument("store")
    options = parser.parse_args()
    machine.set_up()
    dataset = Dataset(options.dataset)
    recipe = Recipe(epochs=1, batch_size=128, validate_every=1)
    batches = Batches(dataset, "train", 128, 0)
    ready = [batches.load(step) for step in range(batches.steps)]
    memory = {"batches": lambda step: ready[step]}
    ways = {"store": {}, "memory": memory, "memory, with checkpoints": {**memory, "keep_log": True}}
    found: dict[str, list[dict]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as room:
                found[name].append(epoch(dataset, recipe, Path(room, "run"), **way))
                harness.note(name, found[name][-1])
    rate = {name: statistics.median(each["images_per_second"] for each in values) for name, values in found.items()}
    seconds = {name: statistics.median(each["seconds"] for each in values) for name, values in found.items()}
    saves = sum(step.bit_count() == 1 for step in range(1, batches.steps + 1))
    threads = {str(count): partial(loader_rate, batches, count) for count in range(1, machine.cores() + 1)}
    loader = harness.medians(harness.interleaved(threads, options.rounds))
    warm = statistics.median(first_step(options.dataset, None) for _ in range(options.rounds))
    with tempfile.TemporaryDirectory() as cache:
        cold = first_step(options.dataset, cache)
    harness.emit(
        {
            "images_per_second": rate,
            "store_to_memory": rate["store"] / rate["memory"],
            "waiting_share": statistics.median(each["waiting_share"] for each in found["store"]),
            "checkpoints_an_epoch": saves,
            "seconds_a_checkpoint": (seconds["memory, with checkpoints"] - seconds["memory"]) / saves,
            "loader_images_per_second": loader,
            "first_step_seconds": {"warm": warm, "cold": cold},
            "rounds": found,
        }
    )


if __name__ == "__main__":
    main()
