"""What precision costs in error: runs trained in float32 and in bf16, each measured in float32, bf16 and int8.

for p in float32 bf16; do for s in 0 1 2; do
    alexnet train STORE RUNS/$p-$s --epochs 10 --seed $s --precision $p
done; done
python benchmarks/precision.py RUNS STORE >docs/raw/precision.json
"""

import argparse
import json
import sys
from pathlib import Path

from alexnet import Store, evaluate, load, machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs")
    parser.add_argument("store")
    options = parser.parse_args()
    machine.set_up()
    store, found = Store(options.store), []
    for path in sorted(Path(options.runs).glob("*-[0-9]")):
        trained = path.name.split("-")[0]
        for measured in ("float32", "bf16", "int8"):
            errors = evaluate([load(path)], store, precision=measured).errors
            found.append({"run": path.name, "trained_in": trained, "measured_in": measured, "images": errors.images,
                          "top1_error": errors.top1_error, "top1_interval": errors.top1_interval,
                          "loss": errors.loss})  # fmt: skip
    json.dump({"machine": machine.cpu_name(), "measured": found}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
