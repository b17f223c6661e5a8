"""What CIFAR-10's JPEG copy may cost in error: its images are encoded once more, on a grid that lies otherwise.

The originals are not at hand. So the copy is compared with a copy of itself, whose images were encoded in the same way
(Pillow's, quality 75, 4:2:0) after a shift of three pixels, that their blocks may lie elsewhere, and shifted back:

    python -m benchmarks.jpeg_copy encode cifar twice        # a data set of the copy -> CIFAR-10's binary files
    alexnet prepare twice twice-dataset --val-fraction 0
    alexnet reproduce cifar-fast twice-fast --data twice-dataset --scale hours --conditions "cifar-quick fast"
    python -m benchmarks.jpeg_copy compare docs/raw/cifar-fast.jsonl twice-fast/raw.jsonl >docs/raw/jpeg-copy.json

Both see the same images with the same seeds, and errors are compared image by image.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet.data.dataset import Dataset
from alexnet.experiments.arms import wrong_of
from alexnet.experiments.experiment import by_condition
from alexnet.experiments.raw import read_rows
from alexnet.experiments.statistics import difference
from benchmarks import harness

SHIFT, SIDE = 3, 32  # pixels
PADDED = ((SHIFT, 8 - SHIFT), (SHIFT, 8 - SHIFT), (0, 0))  # to whole blocks
BATCH = 10_000  # images of a file


def encoded_again(pixels: np.ndarray) -> np.ndarray:
    """(32, 32, 3) uint8, encoded on the other grid and decoded."""
    file = io.BytesIO()
    Image.fromarray(np.pad(pixels, PADDED, mode="reflect")).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))[SHIFT : SHIFT + SIDE, SHIFT : SHIFT + SIDE]


def encode(source: Dataset, folder: Path) -> dict[str, float]:
    """Writes CIFAR-10's binary files with the data set's images, encoded again, in its order.

    Returns:
        The mean difference of a pixel from the copy's, in gray levels.
    """
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


def compare(once: Path, twice: Path) -> dict[str, dict[str, object]]:
    """By condition that both files have: errors of both, and what the second encoding adds, with its 95% interval."""
    first, second = by_condition(read_rows(once)), by_condition(read_rows(twice))
    compared = {}
    for condition in (name for name in first if name in second):
        seeds = sorted({row["seed"] for row in first[condition]} & {row["seed"] for row in second[condition]})
        own = difference(wrong_of(first[condition], seeds), wrong_of(second[condition], seeds))
        errors = [[row["top1_error"] for row in rows[condition] if row["seed"] in seeds] for rows in (first, second)]
        compared[condition] = {
            "seeds": seeds, "images": own.images, "once": errors[0], "twice": errors[1],
            "points_more": round(100 * own.mean, 3), "interval": [round(100 * end, 3) for end in own.interval],
        }  # fmt: skip
    return compared


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("what", choices=("encode", "compare"))
    parser.add_argument("first", type=Path, help="a data set of the copy; or raw figures of trainings on it")
    parser.add_argument("second", type=Path, help="folder to write to; or raw figures of trainings on what came of it")
    options = parser.parse_args()
    if options.what == "encode":
        harness.emit(encode(Dataset(options.first), options.second))
    else:
        harness.emit({"conditions": compare(options.first, options.second)})


if __name__ == "__main__":
    main()
