"""How cost grows: a step's time with the batch, its time and memory with classes, a loader's with the dataset.

    python -m benchmarks.growth >docs/raw/growth.json
    python -m benchmarks.growth --plot docs/raw/growth.json docs/growth.png

Each net is measured in a process of its own, whose peak of resident memory is read at its end; so is the plain port.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib import ticker

from alexnet import Dataset, Net, machine, prepare
from alexnet.data.batches import Batches
from alexnet.data.synthetic import source
from alexnet.diagnostics.bench import random_images, training_step
from alexnet.diagnostics.plain_port import tasks
from alexnet.figures import style
from benchmarks import harness

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CLASSES = (10, 1000, 10184, 22000)
STORES = (10_000, 100_000, 1_000_000)
STEPS, READS = 5, 2000


def step_cost(whose: str, batch: int, classes: int) -> dict:
    """Seconds a step, median of ``STEPS`` after two, and the process's peak of memory."""
    device = torch.device("cpu")
    if whose == "plain":
        torch.set_num_threads(machine.cores())
        step = tasks(batch, classes, device)["step"]
    else:
        machine.set_up()
        precision = machine.choose_precision("auto", device)
        net = Net("paper", classes)
        step = training_step(net, random_images(net, batch, device, precision), precision)
    times = [harness.seconds(step) for _ in range(STEPS + 2)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"net": whose, "batch": batch, "classes": classes, "seconds": statistics.median(times[2:]), "peak_mib": peak}


def synthetic(rows: int, room: Path) -> Path:
    """A dataset of so many records: one shard of 8,192 small raw images under as many names as are needed."""
    small = prepare(source(8192), room / "small", size=32, format="raw", val_fraction=0)
    told = dict(small.description)
    (shard,) = (shard for shard in told["shards"] if shard["split"] == "train")
    dataset = room / f"store-{rows}"
    dataset.mkdir()
    shards = []
    for index in range(-(-rows // shard["rows"])):
        name = f"train-{index:05d}.arrow"
        os.link(room / "small" / shard["file"], dataset / name)
        shards.append({**shard, "file": name})
    for name in ("statistics.safetensors", "skipped.csv"):
        shutil.copy(room / "small" / name, dataset / name)
    (dataset / "dataset.json").write_text(json.dumps({**told, "shards": shards}), encoding="utf-8")
    shutil.rmtree(room / "small")
    return dataset


def store_cost(path: str) -> dict:
    """Opening a dataset and making its first batch, its epoch's order, and a random image's mean time."""
    begun = time.perf_counter()
    dataset = Dataset(path)
    batches = Batches(dataset, "train", 128, 0, crop=28)
    opened = time.perf_counter() - begun
    begun = time.perf_counter()
    batches.load(0)
    first = time.perf_counter() - begun
    rows = np.random.default_rng(0).permutation(dataset.splits["train"])[: 2 * READS].tolist()
    for row in rows[:READS]:
        dataset.image(row)
    begun = time.perf_counter()
    for row in rows[READS:]:
        dataset.image(row)
    read = (time.perf_counter() - begun) / READS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "records": dataset.splits["train"], "open_seconds": opened, "first_batch_seconds": first,
        "microseconds_an_image": 1e6 * read, "peak_mib": peak,
    }  # fmt: skip


def child(*words: object) -> dict:
    """What this script says of one case, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.growth", *map(str, words)]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    harness.note(found.stdout.strip())
    return json.loads(found.stdout)


def measure() -> dict:
    """Every case."""
    found = {
        "batch": [child("--case", "ours", batch, 1000) for batch in BATCHES],
        "classes": [child("--case", "ours", 128, classes) for classes in CLASSES],
        "plain": [child("--case", "plain", 128, 1000)],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as room:
        found["store"] = [child("--dataset", synthetic(rows, Path(room))) for rows in STORES]
    return found


def plot(content: dict, path: str) -> None:
    """Four plots: time by the batch, time and memory by classes, a dataset's times by its size."""
    figure = style.blank(10, 6.2)
    (batch, steps), (dataset, memory) = figure.subplots(2, 2)
    batches = [case["batch"] for case in content["batch"]]
    batch.plot(batches, [1e3 * case["seconds"] / case["batch"] for case in content["batch"]], "o-", color=style.RIGHT)
    batch.set(xscale="log", xlabel="images per step", ylabel="milliseconds per image", ylim=(0, None))
    batch.set_xticks(batches, labels=list(map(str, batches)))
    classes = [case["classes"] for case in content["classes"]]
    steps.plot(classes, [case["seconds"] for case in content["classes"]], "o-", color=style.RIGHT)
    steps.set(xlabel="classes", ylabel="seconds per step of 128 images", ylim=(0, None))
    memory.plot(classes, [case["peak_mib"] / 1024 for case in content["classes"]], "o-", color=style.RIGHT)
    memory.set(xlabel="classes", ylabel="peak of resident memory, GiB", ylim=(0, None))
    records = [case["records"] for case in content["store"]]
    opening = [1e3 * case["open_seconds"] for case in content["store"]]
    dataset.plot(records, opening, "o-", color=style.RIGHT, label="opening the dataset")
    reading = [case["microseconds_an_image"] / 1e3 for case in content["store"]]
    dataset.plot(records, reading, "s--", color=style.WRONG, label="reading a random image")
    dataset.set(xscale="log", yscale="log", xlabel="images in the dataset", ylabel="milliseconds", ylim=(1e-3, 1e4))
    dataset.legend(frameon=False, fontsize=9)
    plain = ticker.FuncFormatter(lambda value, _: f"{value:,.10g}")
    dataset.yaxis.set_major_formatter(plain)
    titles = "A step by its batch", "A step by classes: time", "A dataset by its size", "A step by classes: memory"
    for axes, title in zip((batch, steps, dataset, memory), titles):
        axes.set_title(title, loc="left", fontsize=11, color=style.INK)
        axes.grid(axis="y", color=style.GRID)
        axes.minorticks_off()
        style.clean(axes)
    for axes in (batch, steps, memory):
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    for axes in (steps, memory, dataset):
        axes.xaxis.set_major_formatter(plain)
    style.save(figure, path)


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--dataset", help=argparse.SUPPRESS)
    parser.add_argument("--plot", nargs=2, metavar=("JSON", "PNG"))
    options = parser.parse_args()
    if options.case:
        print(json.dumps(step_cost(options.case[0], int(options.case[1]), int(options.case[2]))))
    elif options.dataset:
        print(json.dumps(store_cost(options.dataset)))
    elif options.plot:
        plot(json.loads(Path(options.plot[0]).read_text(encoding="utf-8")), options.plot[1])
    else:
        harness.emit(measure())


if __name__ == "__main__":
    main()
