"""Loaders beside each other on one core: ours, torchvision's ImageFolder, WebDataset, Hugging Face `datasets`.

All deliver random 224x224 crops, half of them mirrored, of the same 256x256 JPEG images (a dataset's, written out as
files and as a tar), as uint8 batches of 128; torchvision's own training transform (a random part of the image, resized,
to float) is measured beside it. The peers run in an environment that this builds from ``loaders-constraints.txt``, each
in a process of its own that is measured in turn.

    taskset -c 0 python -m benchmarks.peers.loaders DATASET --rounds 5 >docs/raw/loaders.json
"""

import io
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import simplejpeg

from alexnet import Dataset, machine
from alexnet.data.batches import Batches, ahead
from benchmarks import harness
from benchmarks.peers.engine import Engine, environment, paused

HERE = Path(__file__).parent
PEERS = ("torchvision", "torchvision, its own transform", "webdataset", "datasets")
IMAGES, BATCH = 2048, 128


def write_out(dataset: Dataset, rows: list[int], room: Path) -> None:
    """The same images as class folders and as a tar."""
    with tarfile.open(room / "images.tar", "w") as tar:
        for number, row in enumerate(rows):
            data, name = bytes(dataset.encoded(row)), dataset.classes[int(dataset.labels[row])]
            (room / "folder" / name).mkdir(parents=True, exist_ok=True)
            (room / "folder" / name / f"{number:06d}.jpg").write_bytes(data)
            for ending, content in (("jpg", data), ("cls", str(dataset.labels[row]).encode())):
                entry = tarfile.TarInfo(f"{number:06d}.{ending}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))


def main() -> None:
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("store")
    options = parser.parse_args()
    machine.set_up(1)
    python = environment("peers-loaders", "loaders-constraints.txt")
    dataset = Dataset(options.dataset)
    batches = Batches(dataset, "train", BATCH, 0)
    steps = min(IMAGES // BATCH, batches.steps)
    rows = [int(row) for step in range(steps) for row in batches.rows(step)]

    def ours() -> float:
        begun = time.perf_counter()
        for _ in ahead(batches.load, range(steps), 1):
            pass
        return len(rows) / (time.perf_counter() - begun)

    def bare() -> float:
        begun = time.perf_counter()
        for row in rows:
            simplejpeg.decode_jpeg(np.frombuffer(dataset.encoded(row), np.uint8))
        return len(rows) / (time.perf_counter() - begun)

    with tempfile.TemporaryDirectory() as room:
        write_out(dataset, rows, Path(room))
        peers = {name: Engine([str(python), str(HERE / "loaders_worker.py"), name, room]) for name in PEERS}
        tasks = {"ours": ours, "bare decoding (simplejpeg)": bare, **peers}
        rounds = harness.interleaved({name: paused(task) for name, task in tasks.items()}, options.rounds)
    middle = harness.medians(rounds)
    harness.emit(
        {
            "images": len(rows),
            "images_per_second": middle,
            "ours_to": {name: middle["ours"] / value for name, value in middle.items()},
            "rounds": rounds,
        }
    )


if __name__ == "__main__":
    main()
