"""The loader alone on a dataset of either format, one thread and as many as there are cores.

python -m benchmarks.loader RAW_STORE >docs/raw/loader-raw.json
python -m benchmarks.loader RAW_STORE --crop-scale 0.35 >docs/raw/loader-resized.json
python -m benchmarks.loader CIFAR --keep >docs/raw/loader-kept.json
"""

import time
from functools import partial

from alexnet import Dataset, machine
from alexnet.data.batches import Batches, ahead
from benchmarks import harness


def loader_rate(batches: Batches, threads: int) -> float:
    """Images a second of the loader alone, over an epoch."""
    started, images = time.perf_counter(), 0
    for batch in ahead(batches.load, range(batches.steps), threads):
        images += len(batch.rows)
    return images / (time.perf_counter() - started)


def main() -> None:
    parser = harness.parser(__doc__, rounds=7)
    parser.add_argument("dataset")
    parser.add_argument("--crop-scale", type=float, default=1.0)
    parser.add_argument("--keep", action="store_true", help="keep decoded images in memory, as a training does")
    options = parser.parse_args()
    machine.set_up(1)
    dataset = Dataset(options.dataset)
    keep = machine.memory() if options.keep else 0
    batches = Batches(dataset, "train", 128, 0, min(224, dataset.size), crop_scale=options.crop_scale, keep=keep)
    tasks = {str(threads): partial(loader_rate, batches, threads) for threads in {1, machine.cores()}}
    rounds = harness.interleaved(tasks, options.rounds)
    about = {"format": dataset.format, "size": dataset.size, "crop_scale": options.crop_scale, "kept": options.keep}
    harness.emit({**about, "images_per_second": harness.medians(rounds), "rounds": rounds})


if __name__ == "__main__":
    main()
