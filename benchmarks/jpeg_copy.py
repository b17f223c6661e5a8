"""What CIFAR-10's JPEG copy may cost in error: its images are encoded once more, on a grid that lies otherwise.

The originals are not at hand. So the copy is compared with a copy of itself, whose images were encoded in the same way
(Pillow's, quality 75, 4:2:0) after a shift of three pixels, that their blocks may lie elsewhere, and shifted back:

    python -m benchmarks.jpeg_copy cifar twice >docs/raw/jpeg-copy.json  # CIFAR-10 as binary files
    alexnet prepare twice twice-dataset --val-fraction 0 --format jpeg
    alexnet reproduce cifar-fast twice-fast --data twice-dataset --scale hours --conditions "cifar-quick fast"
    cp twice-fast/raw.jsonl docs/raw/cifar-fast-encoded-twice.jsonl
    python -m benchmarks.reports docs/results.md

Both see the same images with the same seeds, and errors are compared image by image.
"""

import io
import statistics
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet.data.dataset import Dataset
from alexnet.errors import UsageError
from alexnet.experiments.arms import wrong_of
from alexnet.experiments.experiment import by_condition
from alexnet.experiments.raw import read_rows
from alexnet.experiments.statistics import difference
from benchmarks import harness

SHIFT, SIDE = 3, 32  # pixels
PADDED = ((SHIFT, 16 - SHIFT), (SHIFT, 16 - SHIFT), (0, 0))  # to whole blocks of color
BATCH = 10_000  # images of a file
SPLITS = {"train": 5 * BATCH, "test": BATCH}
RAW = ("cifar-fast.jsonl", "cifar-fast-encoded-twice.jsonl")


def encoded_again(pixels: np.ndarray) -> np.ndarray:
    """(32, 32, 3) uint8, encoded on the other grid and decoded."""
    file = io.BytesIO()
    Image.fromarray(np.pad(pixels, PADDED, mode="reflect")).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))[SHIFT : SHIFT + SIDE, SHIFT : SHIFT + SIDE]


def encode(source: Dataset, folder: Path) -> dict[str, float]:
    """Writes CIFAR-10's binary files with the data set's images, encoded again, in its order.

    Returns:
        How many images, and the mean difference of a pixel from the copy's, in gray levels.

    Raises:
        UsageError: the data set has not CIFAR-10's numbers of images.
    """
    if dict(source.splits) != SPLITS:
        raise UsageError(f"{source.path}: has {source.splits}, where CIFAR-10 has {SPLITS}; prepare --val-fraction 0")
    folder = folder / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    (folder / "batches.meta.txt").write_text("\n".join(source.classes) + "\n", encoding="ascii")
    changes = []
    for split, names in (
        ("train", [f"data_batch_{number}.bin" for number in range(1, 6)]),
        ("test", ["test_batch.bin"]),
    ):
        rows = np.sort(source.rows(split))
        for number, name in enumerate(names):
            with (folder / name).open("wb") as file:
                for row in rows[number * BATCH : (number + 1) * BATCH].tolist():
                    before = source.image(row)
                    after = encoded_again(before)
                    changes.append(float(np.abs(after.astype(int) - before).mean()))
                    file.write(bytes([int(source.labels[row])]) + after.transpose(2, 0, 1).tobytes())
    return {"images": len(changes), "mean_change_in_gray_levels": round(float(np.mean(changes)), 3)}


def table(raw: Path) -> list[str]:
    """A line for each recipe: the errors on the copy and on that of the copy, and what is between them.

    Args:
        raw: the folder of raw figures.
    """
    once, twice = (by_condition(read_rows(raw / name)) for name in RAW)
    lines = ["| recipe | encoded once | twice | points more, 95% interval | seeds |", "| --- | --- | --- | --- | --- |"]
    for condition in (name for name in once if name in twice):
        seeds = sorted({row["seed"] for row in once[condition]} & {row["seed"] for row in twice[condition]})
        own = difference(wrong_of(once[condition], seeds), wrong_of(twice[condition], seeds))
        errors = [
            statistics.mean(row["top1_error"] for row in rows[condition] if row["seed"] in seeds)
            for rows in (once, twice)
        ]
        low, high = (100 * end for end in own.interval)
        cells = (*(f"{error:.2%}" for error in errors), f"{100 * own.mean:+.2f}, {low:+.2f} to {high:+.2f}", len(seeds))
        lines.append(f"| {condition} | {' | '.join(map(str, cells))} |")
    return lines


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("dataset", type=Path, help="of the copy")
    parser.add_argument("folder", type=Path, help="new folder to write to")
    options = parser.parse_args()
    harness.emit(encode(Dataset(options.dataset), options.folder))


if __name__ == "__main__":
    main()
