"""Weights in and out beside the programs they are for: torchvision itself, ONNX Runtime, OpenVINO, on 100 real photos.

RUN is a trained run; PHOTOS a folder of photos. torchvision runs in the environment of ``loaders.py``, the engines in
that of ``inference.py``; neither shares a library with us. torchvision's weights are random: none are at hand offline.

    python -m benchmarks.peers.exchange RUN PHOTOS --rounds 15 >docs/raw/exchange.json
"""

import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from alexnet import load, machine, predict
from alexnet.data import codec as images
from alexnet.evaluation.classifier import Classifier
from alexnet.interchange.exporting import CHECKED, export
from alexnet.interchange.importing import import_weights
from benchmarks import harness
from benchmarks.peers.engine import Engine, environment, paused

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
    parser = harness.parser(__doc__, rounds=15)
    parser.add_argument("run")
    parser.add_argument("photos")
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()
    machine.set_up()
    python = environment("peers", "constraints.txt")
    every = sorted(str(path) for path in Path(options.photos).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    photos = [every[i] for i in np.linspace(0, len(every) - 1, CHECKED).astype(int)]
    pixels = np.stack([images.decode_square(Path(path).read_bytes(), 256) for path in photos])
    run = load(options.run)
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room)
        np.save(folder / "pixels.npy", pixels)
        (folder / "photos.json").write_text(json.dumps(photos), encoding="utf-8")
        theirs = environment("peers-loaders", "loaders-constraints.txt")
        found = {
            "photos": len(photos),
            "torchvision": torchvisions(folder, theirs, photos, pixels),
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
                peers[f"{name}, {form}"] = Engine([*command, str(options.batch_size), str(torch.get_num_threads())])
                answers = np.load(folder / f"{name}-{form}.npy")
                told[f"largest difference from our float32, {name}"] = largest(ours_of(run, pixels), answers)
                told[f"same first class as our float32, {name}"] = float(
                    (ours_of(run, pixels).argmax(1) == answers.argmax(1)).mean()
                )
            table[form] = told

        def timed(precision: str) -> Callable[[], float]:
            classifier = run.with_precision(precision)
            batch = torch.from_numpy(pixels[: options.batch_size]).permute(0, 3, 1, 2)

            return harness.timed(lambda: classifier.probabilities(batch))

        tasks = {"ours, float32": timed("float32"), "ours, auto": timed("auto"), "ours, int8": timed("int8"), **peers}
        times = harness.interleaved({name: paused(task) for name, task in tasks.items()}, options.rounds, uncounted=2)
        for peer in peers.values():
            peer.process.kill()
    speed = {name: options.batch_size / seconds for name, seconds in harness.medians(times).items()}
    harness.emit({**found, "onnx": table, "batch": options.batch_size, "images_per_second": speed, "rounds": times})


if __name__ == "__main__":
    main()
