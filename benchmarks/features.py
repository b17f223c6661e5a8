"""What activations cost: speed beside `evaluate`, peak memory, how right the time said before is, and kills.

    python -m benchmarks.features rates RUN DATASET --rounds 5 > features-rates.json

Speeds are measured in rounds of `evaluate` and of fc7 (the last but one layer), of images of the same dataset at the
same precision. Memory and time are of processes of their own, time in their CPU seconds. A process is killed at moments
spread evenly over the time in which it writes; then it is given again, and its file compared.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from alexnet import Dataset, load, machine
from alexnet.evaluation.activations import activations
from alexnet.evaluation.outputs import outputs as answers
from alexnet.evaluation.stimuli import DatasetStimuli
from alexnet.science.formats import outputs
from benchmarks import harness

SUFFIXES = (".npy", ".h5", ".nc", ".mat", ".parquet", ".arrow", ".safetensors")
WRITE = """
import dataclasses, json, sys, time, types
import numpy
from alexnet import Dataset, load, machine
from alexnet.evaluation.stimuli import DatasetStimuli
from alexnet.science import features
features.time = types.SimpleNamespace(monotonic=time.process_time)  # what other processes do does not count
run, dataset, split, images, file, layers = sys.argv[1:]
machine.set_up()
dataset = Dataset(dataset)
run = load(run, precision="float32")
layers = [f"{name}{end}" for name in run.net.names for end in ("", ":before")] if layers == "all" else layers.split(",")
rows = dataset.rows(split)
stimuli = DatasetStimuli(dataset, split, numpy.resize(rows, int(images)))  # again and again where they are fewer
print("begins", flush=True)
written = features.write_features(run, stimuli, file, layers)
print(json.dumps({**dataclasses.asdict(written), "peak_bytes": machine.peak_memory()}))
"""


def cpu_seconds(work: Callable[[], object]) -> Callable[[], float]:
    """A task: the time of a call on all cores, whatever else they do."""

    def task() -> float:
        started = time.process_time()
        work()
        return time.process_time() - started

    return task


def rates(run: str, dataset: Dataset, split: str, images: int, rounds: int) -> dict:
    """Images per CPU second of `evaluate` and of fc7, in rounds."""
    rows, figures = dataset.rows(split)[:images], {}
    for precision in ("float32", "auto"):
        classifier = load(run, precision=precision)
        if precision == "auto" and machine.choose_precision("auto", classifier.device) == "float32":
            continue  # the same
        layer = classifier.net.names[-2]

        def evaluated() -> None:
            for _ in answers([classifier], dataset, rows, 1, 1):  # noqa: B023 (called within the loop)
                pass

        def computed() -> None:
            for _ in activations(classifier, DatasetStimuli(dataset, split, rows), layer, workers=1):  # noqa: B023
                pass

        seconds = harness.interleaved({"evaluate": cpu_seconds(evaluated), layer: cpu_seconds(computed)}, rounds)
        per_round = [a / b for a, b in zip(seconds["evaluate"], seconds[layer])]
        figures[precision] = {
            "products": machine.choose_precision(precision, classifier.device),
            "images_per_cpu_second": {name: len(rows) / s for name, s in harness.medians(seconds).items()},
            "ratio": sorted(per_round)[len(per_round) // 2],
            "ratios": per_round,
        }
    return figures


def written(run: str, dataset: Dataset, split: str, images: int, name: str, layers: str) -> dict:
    """Of one file, by a process of its own: peak memory, and bytes and CPU seconds beside those expected."""
    with tempfile.TemporaryDirectory() as folder:
        words = [run, dataset.path, split, str(images), f"{folder}/{name}", layers]
        done = subprocess.run([sys.executable, "-c", WRITE, *words], capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    kept = {"file": name, "layers": layers, "images": images, "bytes": figures["bytes"]}
    kept |= {"cpu_seconds": figures["seconds"], "peak_mib": figures["peak_bytes"] / 2**20}
    for what in ("seconds", "bytes"):
        expected = figures[f"expected_{what}"]
        kept |= {f"error_of_{what}_expected": expected / figures[what] - 1} if expected else {}
    harness.note(kept)
    return kept


def kills(run: str, dataset: Dataset, split: str, images: int, count: int, name: str) -> dict:
    """A command killed at ``count`` moments: what was there then, and whether the file is the undisturbed one."""
    with tempfile.TemporaryDirectory() as folder:
        layer = load(run).net.names[-2]  # of one layer, so that .npy is one file

        def start(file: str) -> subprocess.Popen[str]:
            """A process that begins to write."""
            words = [run, dataset.path, split, str(images), f"{folder}/{file}", layer]
            process = subprocess.Popen([sys.executable, "-c", WRITE, *words], stdout=subprocess.PIPE, text=True)
            assert process.stdout and process.stdout.readline() == "begins\n"
            return process

        def there(file: str) -> list[bytes]:
            """All that belongs to a file but what names it, where all of it is there."""
            paths = outputs(f"{folder}/{file}", [layer])
            return [path.read_bytes() for path in paths[:2]] if all(path.exists() for path in paths) else []

        process, started = start(f"undisturbed{name}"), time.monotonic()
        assert process.stdout and process.stdout.readline()
        duration = time.monotonic() - started
        assert process.wait() == 0
        undisturbed = there(f"undisturbed{name}")
        outcomes = {"killed before the end": 0, "finished": 0, "finished with other bytes": 0}
        random.seed(0)
        for number in range(count):
            process = start(f"x{name}")
            time.sleep(duration * (number + random.random()) / count)
            process.send_signal(signal.SIGKILL)
            outcomes["killed before the end"] += process.wait() != 0
            if finished := there(f"x{name}"):
                outcomes["finished"] += 1
                outcomes["finished with other bytes"] += finished != undisturbed
                for path in outputs(f"{folder}/x{name}", [layer]):
                    path.unlink()
        whole = start(f"x{name}").wait() == 0 and there(f"x{name}") == undisturbed
        outcomes |= {"the same bytes in the end": whole}
        outcomes |= {"left behind": len([entry for entry in os.listdir(folder) if entry.startswith(".")])}
        return {"file": name, "seconds": duration, "kills": count, **outcomes}


def main() -> None:
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("part", choices=("rates", "layers", "whole", "killed"))
    parser.add_argument("run")
    parser.add_argument("dataset")
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", type=int, default=256, help="of a round, of a file of all layers, of a killed one")
    parser.add_argument("--kills", type=int, default=20)
    arguments = parser.parse_args()
    machine.set_up()
    dataset, run, split = Dataset(arguments.dataset), arguments.run, arguments.split
    everything, names = len(dataset.rows(split)), load(run).net.names
    figures: dict = {"net": load(run).net.table.name, "threads": machine.usual_threads()}
    if arguments.part == "rates":
        figures |= rates(run, dataset, split, arguments.images, arguments.rounds)
    elif arguments.part == "layers":
        several = [(arguments.images // 4, ".npy"), *((arguments.images, suffix) for suffix in SUFFIXES)]
        figures["files"] = [written(run, dataset, split, images, f"x{end}", "all") for images, end in several]
    elif arguments.part == "whole":
        suffixes = (".npy", ".h5")
        figures["files"] = [written(run, dataset, split, everything, f"x{end}", names[-2]) for end in suffixes]
    else:
        suffixes = (".h5", ".npy")
        figures["files"] = [kills(run, dataset, split, arguments.images, arguments.kills, end) for end in suffixes]
    harness.emit(figures)


if __name__ == "__main__":
    main()
