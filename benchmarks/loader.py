"""The loader alone on a store of either format, one thread and as many as there are cores.

python benchmarks/loader.py RAW_STORE >docs/raw/loader-raw.json
"""

import argparse
import json
import statistics
import sys
import time
from functools import partial

from alexnet import Store, machine
from alexnet.data.batches import Batches, ahead
from alexnet.diagnostics.bench import interleaved


def loader_rate(batches: Batches, threads: int) -> float:
    """Images a second of the loader alone, over an epoch."""
    begun, images = time.perf_counter(), 0
    for batch in ahead(batches.load, range(batches.steps), threads):
        images += len(batch.rows)
    return images / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    machine.set_up(1)
    store = Store(options.store)
    batches = Batches(store, "train", 128, 0)
    tasks = {str(threads): partial(loader_rate, batches, threads) for threads in {1, machine.cores()}}
    found = interleaved(tasks, options.rounds)
    told = {"machine": machine.cpu_name(), "cores": machine.cores(), "format": store.format}
    rates = {threads: statistics.median(values) for threads, values in found.items()}
    json.dump({**told, "images_per_second": rates, "rounds": found}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
