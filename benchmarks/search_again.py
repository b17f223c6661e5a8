"""Whether a photo that was changed is found again: how often the original comes first.

    python -m benchmarks.search_again INDEX --images 300

The photos are spread over the index's. Each is given as JPEG of quality 50, at half its size, without a tenth of its
width and height, and mirrored.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from alexnet import machine
from alexnet.search.answers import answers
from alexnet.search.images import read_names
from alexnet.search.manifest import read_whole
from alexnet.search.projection import spread_sample
from benchmarks import harness

QUALITY = 95  # of JPEG files of those that are not to be coarse


def cropped(photo: Image.Image) -> Image.Image:
    """Without a twentieth at each side."""
    width, height = photo.size
    return photo.crop((round(0.05 * width), round(0.05 * height), round(0.95 * width), round(0.95 * height)))


def halved(photo: Image.Image) -> Image.Image:
    return photo.resize((max(1, photo.width // 2), max(1, photo.height // 2)), Image.Resampling.LANCZOS)


CHANGES: dict[str, tuple[Callable[[Image.Image], Image.Image], int]] = {
    "unchanged pixels, JPEG 95": (lambda photo: photo, QUALITY),
    "JPEG 50": (lambda photo: photo, 50),
    "half size": (halved, QUALITY),
    "10% cropped": (cropped, QUALITY),
    "mirrored": (ImageOps.mirror, QUALITY),
}


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("--images", type=int, default=300, help="photos that are searched for")
    options = parser.parse_args()
    machine.set_up()
    _, names = read_whole(options.index, read_names)
    places = spread_sample(len(names), options.images)
    figures = {}
    wanted = {**CHANGES, "mirrored, with --unflipped": CHANGES["mirrored"]}
    for change, (make, quality) in wanted.items():
        with tempfile.TemporaryDirectory() as folder:
            for place in places.tolist():
                with Image.open(names.path(place)) as photo:
                    make(photo.convert("RGB")).save(Path(folder) / f"{place:09d}.jpg", quality=quality)
            found = answers(options.index, folder, count=2, flip="--unflipped" not in change)
        order = [int(Path(answer.image).stem) for answer in found.answers]
        first = [answer.neighbors[0].place == place for answer, place in zip(found.answers, order)]
        own = [answer.neighbors[0].relative for answer, hit in zip(found.answers, first) if hit]
        figures[change] = {"first": float(np.mean(first)), "median_distance_of_typical": float(np.median(own))}
        harness.note(change, figures[change])
    harness.emit({"images": len(names), "queries": len(places), "changes": figures})


if __name__ == "__main__":
    main()
