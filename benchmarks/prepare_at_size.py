"""What `alexnet prepare` costs at ImageNet's size: rate, time and peak memory, and how they grow.

    python -m benchmarks.prepare_at_size PHOTOS FOLDER >docs/raw/prepare-at-size.json

Two measurements, each in a process of its own:

- *images*: 56,000 photos of full size in tars of a thousand, one a class, made of the photos of PHOTOS (a dataset):
  enlarged by 1.8, each time shifted, mirrored or lit otherwise, JPEG quality 90. Prepared from 7, 14, 28 and 56 of
  the tars.
- *members*: what must be known before the first image is read - the listing, the validation split, the
  fingerprint, the plan of the shards - for up to 14 million members. The tars of a thousand empty files are one
  file under many names, so this needs no disk; it says nothing of the disk's own time.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from alexnet import Dataset
from alexnet.machine import cores
from benchmarks import harness

EACH = 1000
LISTED = """
import json, sys, time
started = time.monotonic()
from alexnet.data.shards import plan_shards
from alexnet.data.sources import open_source, split_off_validation
source = split_off_validation(open_source(sys.argv[1]), 0.2, 0)
source.fingerprint()
shards = plan_shards(source.listing, 8192)
print(json.dumps({"members": len(source.listing), "shards": len(shards), "seconds": time.monotonic() - started}))
"""


def photo(dataset: Dataset, number: int) -> bytes:
    """A photo of full size, another for each number."""
    rng = np.random.default_rng(number)
    image = Image.fromarray(dataset.image(number % sum(dataset.splits.values())))
    image = image.resize((540, 460), Image.Resampling.BICUBIC)
    left, top = rng.integers(0, 41), rng.integers(0, 51)
    image = image.crop((left, top, left + 500, top + 409))
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = ImageEnhance.Brightness(image).enhance(float(rng.uniform(0.8, 1.2)))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def class_tar(photos: str, path: str, number: int) -> None:
    """A tar of a thousand such photos."""
    dataset = Dataset(photos)
    with tarfile.open(path, "w") as archive:
        for i in range(EACH):
            data = photo(dataset, EACH * number + i)
            member = tarfile.TarInfo(f"n{number:08d}_{i}.JPEG")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def links(folder: Path, targets: list[Path]) -> Path:
    """A folder with a class tar for each target."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number, target in enumerate(targets):
        (folder / f"n{number:08d}.tar").symlink_to(target.resolve())
    return folder


def measured(command: list[str]) -> tuple[float, float, str]:
    """Seconds, peak memory in MiB, and standard output of a process."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command}: status {status}")
    return time.monotonic() - started, usage.ru_maxrss / 1024, out


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("photos")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tars", type=int, default=56)
    parser.add_argument("--members", type=int, nargs="*", default=[100_000, 400_000, 1_281_167, 14_197_122])
    options = parser.parse_args()
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    told: dict = {"images": [], "members": []}
    tars = [folder / f"photos-{number}.tar" for number in range(options.tars)]
    with ProcessPoolExecutor(cores()) as pool:
        todo = [(options.photos, str(path), number) for number, path in enumerate(tars) if not path.exists()]
        list(pool.map(class_tar, *zip(*todo)) if todo else ())
    told["bytes_a_photo"] = round(sum(path.stat().st_size for path in tars) / EACH / len(tars))
    for count in (len(tars) // 8, len(tars) // 4, len(tars) // 2, len(tars)):
        source = links(folder / "source", tars[:count])
        shutil.rmtree(folder / "store", ignore_errors=True)
        command = [sys.executable, "-m", "alexnet", "prepare", str(source), str(folder / "store")]
        seconds, peak, _ = measured(command)
        images = EACH * count
        told["images"].append(
            {"images": images, "seconds": seconds, "images_per_second": images / seconds, "peak_mib": peak}
        )
        harness.note(told["images"][-1])
    seconds, peak, _ = measured([sys.executable, "-m", "alexnet", "verify", str(folder / "store")])
    told["verify"] = {"images": EACH * len(tars), "seconds": seconds, "peak_mib": peak}
    empty = folder / "empty.tar"
    with tarfile.open(empty, "w") as archive:
        for i in range(EACH):
            archive.addfile(tarfile.TarInfo(f"n01440764_{i:05d}.JPEG"))
    for members in options.members:
        source = links(folder / "listed", [empty] * -(-members // EACH))
        _, peak, out = measured([sys.executable, "-c", LISTED, str(source)])
        told["members"].append({**json.loads(out), "peak_mib": peak})
        harness.note(told["members"][-1])
    harness.emit(told)


if __name__ == "__main__":
    main()
