"""``prepare``'s way from a photo to a square beside Pillow's, one core: how fast, and how near the long way in float.

    taskset -c 0 python -m benchmarks.resizing ../shared/data/imagenette-dev.tar >docs/raw/resizing.json

Photos are the source's, enlarged by 1.8 and by 4 and encoded at quality 90. The long way decodes all of a photo with
Pillow and takes the mean of each pixel's area in float64. PSNR and SSIM (11x11 Gaussian of deviation 1.5, on luma) are
of the square before it is encoded.
"""

import io
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from alexnet import prepare
from alexnet.data import codec as images
from alexnet.diagnostics.bench import pillows_way
from benchmarks import harness
from benchmarks.encoding import psnr

SIDE, TIMED = 256, 200


def photos(path: str, count: int, factor: float) -> list[bytes]:
    """Every seventh image of the tar, enlarged."""
    found = []
    with tarfile.open(path) as tar:
        for number, member in enumerate(tar):
            if not member.isfile() or number % 7 or len(found) == count:
                continue
            file = tar.extractfile(member)
            assert file
            image = Image.open(io.BytesIO(file.read())).convert("RGB")
            image = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=90)
            found.append(buffer.getvalue())
    return found


def long_way(data: bytes) -> np.ndarray:
    """(256, 256, 3) float64."""
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(np.float64)
    side = min(pixels.shape[:2])

    def matrix(length: int) -> np.ndarray:
        edges = (length - side) / 2 + np.arange(SIDE + 1) * side / SIDE
        covered = np.minimum(edges[1:, None], np.arange(length) + 1) - np.maximum(edges[:-1, None], np.arange(length))
        return covered.clip(0) * SIDE / side

    rows = np.tensordot(matrix(pixels.shape[0]), pixels, (1, 0))
    return np.tensordot(rows, matrix(pixels.shape[1]), (1, 1)).transpose(0, 2, 1)


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Of luma (Wang, Bovik, Sheikh, Simoncelli, 2004)."""
    a, b = (each @ np.array([0.299, 0.587, 0.114]) for each in (a, b))

    def mean(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, 1.5, truncate=3.5)

    ma, mb = mean(a), mean(b)
    va, vb, both = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    low, high = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float((((2 * ma * mb + low) * (2 * both + high)) / ((ma**2 + mb**2 + low) * (va + vb + high))).mean())


def rates(given: list[bytes], rounds: int) -> dict[str, float]:
    """Images a second of either way, medians of interleaved rounds."""
    timed = given[:TIMED]

    def rate(way: Callable[[bytes], object]) -> Callable[[], float]:
        return lambda: len(timed) / harness.seconds(lambda: [way(data) for data in timed])

    ways = {"ours": lambda data: images.encode(images.decode_square(data), "jpeg"), "pillow": pillows_way}
    return harness.medians(harness.interleaved({name: rate(way) for name, way in ways.items()}, rounds))


def whole_prepare(given: list[bytes]) -> float:
    """Images a second of all of ``prepare`` in one thread: reading, the square, its statistics, writing, hashes."""
    with tempfile.TemporaryDirectory() as room:
        for number, data in enumerate(given):
            place = Path(room, "photos", f"class{number % 2}")
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number:04d}.jpg").write_bytes(data)
        begun = time.perf_counter()
        prepare(Path(room, "photos"), Path(room, "store"), val_fraction=0, workers=1)
        return len(given) / (time.perf_counter() - begun)


def main() -> None:
    parser = harness.parser(__doc__, rounds=5)
    parser.add_argument("tar")
    parser.add_argument("--photos", type=int, default=1000)
    options = parser.parse_args()
    told: dict = {"decoder": images.DECODER, "photos": options.photos}
    for factor in (1.8, 4.0):
        given = photos(options.tar, options.photos, factor)
        whole = Image.open(io.BytesIO(given[0])).height
        near = []
        for data in given:
            exact, ours = long_way(data), images.decode_square(data).astype(np.float64)
            near.append((psnr(ours, exact), ssim(ours, exact)))
        decibels, similar = (np.array(values) for values in zip(*near))
        speed = rates(given, options.rounds)
        told[f"enlarged by {factor}"] = {
            "reduced_while_decoding": images._decode_jpeg(given[0], SIDE).shape[0] < whole,
            "images_per_second": {**speed, "all of prepare": whole_prepare(given)},
            "ours_to_pillow": speed["ours"] / speed["pillow"],
            "psnr": {"mean": decibels.mean(), "least": decibels.min()},
            "ssim": {"mean": similar.mean(), "least": similar.min()},
        }  # fmt: skip
    harness.emit(told)


if __name__ == "__main__":
    main()
