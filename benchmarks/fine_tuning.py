"""Fine-tuning against training from scratch: seven classes of imagenette-dev first, then few photos of the other three.

A net is trained on the first seven classes with the default recipe. Then, for each number of photos a class and each
seed, the same few photos of the last three classes train a net from scratch and from that one, and each is measured on
these classes' 600 validation photos, one view.

    python benchmarks/fine_tuning.py FOLDER --photos imagenette-dev.tar >docs/raw/fine-tuning.json

What is done is kept in FOLDER, and the same command goes on there.
"""

import argparse
import csv
import dataclasses
import json
import shutil
import statistics
import sys
import tarfile
import time
from pathlib import Path

import torch

from alexnet import Recipe, evaluate, load, machine, prepare, randomness, train

KINDS = {  # whether it starts from the other net, and what is changed of the default recipe
    "from scratch": (False, {}),
    "from scratch, --epochs 100": (False, {"epochs": 100}),
    "fine-tuned": (True, {}),
    "fine-tuned, --freeze conv5": (True, {"freeze": "conv5"}),
    "fine-tuned, --freeze fc7": (True, {"freeze": "fc7"}),
}
NEVER = 1000  # epochs between measurements: the end is measured always


def listed(photos: Path, file: Path, classes: list[str], count: int | None, seed: int) -> Path:
    """A CSV of all validation photos of some classes and ``count`` training photos of each."""
    rows = [("path", "label", "split")]
    for number, name in enumerate(classes):
        found = sorted((photos / "train" / name).iterdir())
        if count is not None:
            order = randomness.permutation(seed, f"few photos of class {number}", 0, len(found)).tolist()
            found = [found[i] for i in sorted(order[:count])]
        rows += [(str(path), name, "train") for path in found]
        rows += [(str(path), name, "val") for path in sorted((photos / "val" / name).iterdir())]
    with open(file, "w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(rows)
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=Path, required=True, help="imagenette-dev.tar")
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 30, 100])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    options = parser.parse_args()
    machine.set_up()
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    photos = folder / "photos" / "imagenette-dev"
    if not photos.exists():
        with tarfile.open(options.photos) as archive:
            archive.extractall(folder / "photos", filter="data")
    classes = sorted(path.name for path in (photos / "train").iterdir())
    old, new = classes[:7], classes[7:]
    if not (folder / "seven").exists():
        prepare(listed(photos, folder / "seven.csv", old, None, 0), folder / "seven")
    pretrained = folder / "pretrained"
    train(folder / "seven", pretrained, Recipe())
    results = folder / "results.jsonl"
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for kind in options.kinds:
        for count in options.counts:
            for seed in options.seeds:
                if any((each["kind"], each["count"], each["seed"]) == (kind, count, seed) for each in done):
                    continue
                store, run = folder / f"few-{count}-{seed}", folder / "run"
                if not store.exists():
                    prepare(listed(photos, folder / f"few-{count}-{seed}.csv", new, count, seed), store)
                shutil.rmtree(run, ignore_errors=True)
                tuned, change = KINDS[kind]
                start = pretrained if tuned else None
                recipe = dataclasses.replace(Recipe(seed=seed, validate_every=NEVER), **change)
                begun = time.monotonic()
                outcome = train(store, run, recipe, start_from=start, show=False)
                seconds = time.monotonic() - begun
                errors = evaluate([load(run)], prepare(folder / f"few-{count}-{seed}.csv", store)).errors
                done.append({"kind": kind, "count": count, "seed": seed, "epochs": outcome.epochs, "seconds": seconds,
                             "top1_error": errors.top1_error})  # fmt: skip
                with open(results, "a", encoding="utf-8") as out:
                    out.write(json.dumps(done[-1]) + "\n")
                print(done[-1], file=sys.stderr, flush=True)
    table = [
        {
            "kind": kind,
            "photos_a_class": count,
            "top1_error_mean": statistics.mean(errors),
            "top1_error_lowest": min(errors),
            "top1_error_highest": max(errors),
            "seconds_median": statistics.median(each["seconds"] for each in found),
        }
        for kind in options.kinds
        for count in options.counts
        if (found := [each for each in done if (each["kind"], each["count"]) == (kind, count)])
        and (errors := [each["top1_error"] for each in found])
    ]
    before = load(pretrained)
    json.dump({"machine": machine.cpu_name(), "torch": torch.__version__, "pretrained_on": old, "fine_tuned_on": new,
               "pretrained_errors": before.errors, "table": table, "runs": done}, sys.stdout, indent=1)  # fmt: skip


if __name__ == "__main__":
    main()
