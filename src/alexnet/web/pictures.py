"""Pictures for the page: what the net sees of an image, rows of small images in one file."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from alexnet.data import codec
from alexnet.data.dataset import Dataset
from alexnet.data.preprocessing import Preprocessing
from alexnet.figures.sheet import spread

TILE = 96  # pixels, side of an image in a row
PIXELS = 32  # side of an image that is too small for more than its pixels to be seen
EXAMPLES = 12
QUALITY = 85  # of the rows


def url_of(content: bytes, form: str = "jpeg") -> str:
    """A picture's file as a ``data:`` URL."""
    return f"data:image/{form};base64,{base64.b64encode(content).decode()}"


def jpeg_url(square: np.ndarray) -> str:
    """A square as a ``data:`` URL, as datasets keep it: JPEG, quality 95."""
    return url_of(codec.encode(square, "jpeg"))


def mean_png(preprocessing: Preprocessing) -> bytes:
    """The mean image, rounded to 8 bits, (size, size)."""
    mean = preprocessing.mean_image.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return _file(Image.fromarray(mean), "PNG")


def png(square: np.ndarray) -> bytes:
    """A (size, size, 3) uint8 square as a file that loses nothing."""
    return _file(Image.fromarray(square), "PNG", compress_level=1)


def row_of(dataset: Dataset, rows: Sequence[int]) -> bytes:
    """A JPEG of images side by side, (TILE, TILE * n)."""
    return joined([dataset.image(row) for row in rows])


def joined(squares: Sequence[np.ndarray]) -> bytes:
    """As ``row_of``, of (side, side, 3) uint8 squares."""
    row = Image.new("RGB", (TILE * max(1, len(squares)), TILE))
    for number, square in enumerate(squares):
        how = Image.Resampling.NEAREST if len(square) < PIXELS else Image.Resampling.BICUBIC
        tile = Image.fromarray(square).resize((TILE, TILE), how)
        row.paste(tile, (TILE * number, 0))
    return _file(row, "JPEG", quality=QUALITY)


def shown_split(dataset: Dataset) -> str:
    """The split that images are shown of: validation, or else training, or else what there is."""
    return next((split for split in ("val", "train") if split in dataset.splits), next(iter(dataset.splits)))


def example_rows(dataset: Dataset) -> list[int]:
    """Row ids of some images that the net was not trained on, where there are any, spread over the classes."""
    rows = dataset.rows(shown_split(dataset))
    labels = dataset.labels[rows]
    classes = [int(label) for label in spread(len(dataset.classes), EXAMPLES)]
    several = -(-EXAMPLES // max(1, len(classes)))
    chosen: list[int] = []
    for turn in range(several):
        for label in classes:
            own = rows[labels == label]
            if len(own):
                chosen.append(int(own[(turn * len(own)) // several]))
    return list(dict.fromkeys(chosen))[:EXAMPLES]


def _file(image: Image.Image, form: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
