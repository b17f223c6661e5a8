"""Weights in and out beside the programs they are for: torchvision itself, ONNX Runtime, OpenVINO, on 100 real photos.

RUN is a trained run; PHOTOS a folder of photos. torchvision runs in the environment of ``loaders.py``, the engines in
that of ``inference.py``; neither shares a library with us. torchvision's weights are random: none are at hand offline.

    python benchmarks/peers/exchange.py RUN PHOTOS --rounds 15 >docs/raw/exchange.json
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from inference import Engine, environment, paused

from alexnet import load, machine, predict
from alexnet.data import images
from alexnet.data.sources.pictures import find_pictures
from alexnet.diagnostics.bench import interleaved
from alexnet.evaluation.classifier import Classifier
from alexnet.interchange.exporting import CHECKED, export
from alexnet.interchange.importing import import_weights

HERE = Path(__file__).parent
ENGINES = ("onnxruntime", "openvino")
FORMS = {"float32": {}, "int8": {"narrow": True}}


def largest(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference as a share of an image's largest probability."""
    return float((np.abs(ours - theirs).max(1) / ours.max(1)).max())


def ours_of(run: Classifier, pixels: np.ndarray) -> np.ndarray:
    return run.with_precision("float32").square_probabilities(list(pixels)).numpy()


def from_files(run: Classifier, photos: list[str]) -> np.ndarray:
    place = {name: i for i, name in enumerate(run.classes)}
    found = np.zeros((len(photos), len(run.classes)), np.float32)
    for row, each in enumerate(predict(run, photos, top=len(run.classes), precision="float32")):
        found[row, [place[name] for name in each.classes]] = [share for _, share in each.top]
    return found


def torchvisions(folder: Path, python: Path, photos: list[str], pixels: np.ndarray) -> dict:
    """Its weights in ours, and ours in it."""
    worker = [str(python), str(HERE / "exchange_worker.py")]
    told = subprocess.run([*worker, "torchvision-make", str(folder)], check=True, capture_output=True, text=True)
    found: dict = {"versions": json.loads(told.stdout)}
    squares, files = (np.load(folder / f"torchvision-make-{kind}.npy") for kind in ("pixels", "photos"))
    for kind in ("zip", "legacy"):
        import_weights(folder / f"{kind}.pth", folder / f"from-{kind}")
        run = load(folder / f"from-{kind}")
        ours = ours_of(run, pixels)
        found[f"imported, {kind}: largest difference on squares"] = largest(ours, squares)
        found[f"imported, {kind}: same first class on squares"] = float((ours.argmax(1) == squares.argmax(1)).mean())
    ours = from_files(run, photos)  # each scales the photos its own way
    found["imported: largest difference on photos, each scaling them itself"] = largest(ours, files)
    found["imported: same first class on photos"] = float((ours.argmax(1) == files.argmax(1)).mean())
    export(run, folder / "back.pth")
    subprocess.run(
        [*worker, "torchvision-load", str(folder), str(folder / "back.pth")], check=True, capture_output=True
    )
    back = np.load(folder / "torchvision-load-pixels.npy")
    found["exported and loaded there: largest difference from before"] = largest(squares, back)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("photos")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    cache = Path.home() / ".cache" / "alexnet"
    parser.add_argument("--environments", type=Path, nargs=2, default=[cache / "peers", cache / "peers-loaders"])
    options = parser.parse_args()
    machine.set_up()
    engines, theirs = options.environments
    python = environment(engines, HERE / "constraints.txt")
    every = [source.name(member) for source in find_pictures(options.photos) for member in source.members]
    photos = [every[i] for i in np.linspace(0, len(every) - 1, CHECKED).astype(int)]
    pixels = np.stack([images.decode_square(Path(path).read_bytes(), 256) for path in photos])
    run = load(options.run)
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room)
        np.save(folder / "pixels.npy", pixels)
        (folder / "photos.json").write_text(json.dumps(photos), encoding="utf-8")
        found = {
            "machine": machine.cpu_name(),
            "torch": torch.__version__,
            "photos": len(photos),
            "torchvision": torchvisions(folder, environment(theirs, HERE / "loaders-constraints.txt"), photos, pixels),
        }
        peers: dict[str, Engine] = {}
        table = {}
        for form, how in FORMS.items():
            made = export(run, folder / f"{form}.onnx", images=options.photos, **how)
            told = {
                "bytes": made.bytes,
                "largest difference, ONNX Runtime, as the command checked": made.largest_difference,
            }
            for name in ENGINES:
                command = [str(python), str(HERE / "exchange_worker.py"), name, str(folder), made.file]
                peers[f"{name}, {form}"] = Engine([*command, str(options.batch), str(torch.get_num_threads())])
                answers = np.load(folder / f"{name}-{form}.npy")
                told[f"largest difference from our float32, {name}"] = largest(ours_of(run, pixels), answers)
                told[f"same first class as our float32, {name}"] = float(
                    (ours_of(run, pixels).argmax(1) == answers.argmax(1)).mean()
                )
            table[form] = told

        def timed(precision: str) -> Callable[[], float]:
            classifier = run.with_precision(precision)
            batch = torch.from_numpy(pixels[: options.batch]).permute(0, 3, 1, 2)

            def once() -> float:
                begun = time.perf_counter()
                classifier.probabilities(batch)
                return time.perf_counter() - begun

            return once

        tasks = {"ours, float32": timed("float32"), "ours, auto": timed("auto"), "ours, int8": timed("int8"), **peers}
        times = interleaved({name: paused(task) for name, task in tasks.items()}, options.rounds, uncounted=2)
        for peer in peers.values():
            peer.process.kill()
    speed = {name: options.batch / statistics.median(each) for name, each in times.items()}
    json.dump({**found, "onnx": table, "batch": options.batch, "images_per_second": speed, "rounds": times},
              sys.stdout, indent=1)  # fmt: skip


if __name__ == "__main__":
    main()
