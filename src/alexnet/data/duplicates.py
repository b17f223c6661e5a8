"""Near-duplicates between training and validation, by a perceptual hash.

An image found in both makes the validation error too low. Each is hashed to 64 bits that survive another size,
another JPEG quality, a little more light: the signs of the 64 lowest cosine coefficients of its gray 32x32 version
against their median (the "pHash" of Zauner, *Implementation and Benchmarking of Perceptual Image Hash Functions*,
2010). Those that differ in few bits are then compared pixel by pixel on that version.
"""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from alexnet import machine
from alexnet.data.dataset import Dataset

SIDE, LOW = 32, 8
MOST_BITS = 6  # of 64 that may differ
BANDS = 7  # with one band more than bits that may differ, one at least is equal
ALIKE = 0.97  # least correlation of the gray versions
BLOCK = 256

_FREQUENCY, _PLACE = np.arange(LOW)[:, None], np.arange(SIDE)[None, :]
COSINES = np.cos(np.pi * _FREQUENCY * (2 * _PLACE + 1) / (2 * SIDE)).astype(np.float32)  # the DCT's first rows


def gray(dataset: Dataset, row: int) -> np.ndarray:
    """A stored image's gray 32x32 version, float32."""
    image = Image.fromarray(dataset.image(row)).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32)


def hashes(pictures: np.ndarray) -> np.ndarray:
    """(n,) uint64 perceptual hashes of (n, 32, 32) float32 gray pictures."""
    low = (COSINES @ pictures @ COSINES.T).reshape(-1, LOW * LOW)
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)  # the first is the mean light
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def find_duplicates(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> list[tuple[int, int, int]]:
    """Pairs of a training and a validation image that look alike.

    Args:
        dataset: with a training and a validation split.
        progress: called with images done and images in all.

    Returns:
        Training row, validation row, and by how many bits their hashes differ; sorted.
    """
    if not {"train", "val"} <= set(dataset.splits):
        return []
    train, val = dataset.rows("train"), dataset.rows("val")
    rows = np.concatenate([train, val])
    found = np.zeros(len(rows), np.uint64)
    with ThreadPoolExecutor(machine.cores(), thread_name_prefix="duplicates") as pool:
        starts = range(0, len(rows), BLOCK)
        work = pool.map(lambda start: hashes(_grays(dataset, rows[start : start + BLOCK])), starts)
        for start, part in zip(starts, work):
            found[start : start + BLOCK] = part
            if progress:
                progress(min(len(rows), start + BLOCK), len(rows))
    pairs = []
    for a, b, bits in candidates(found[: len(train)], found[len(train) :]):
        if correlation(gray(dataset, int(train[a])), gray(dataset, int(val[b]))) >= ALIKE:
            pairs.append((int(train[a]), int(val[b]), bits))
    return sorted(pairs)


def _grays(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    return np.stack([gray(dataset, int(row)) for row in rows])


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's, of two pictures; 1 where both are of one color."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size > 0 else float(not a.any() and not b.any())


def candidates(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Places in two arrays of uint64 that differ in at most ``MOST_BITS`` bits, and in how many.

    The 64 bits are cut into ``BANDS`` bands; two that differ in fewer bits than there are bands agree in one.
    """
    seen: set[tuple[int, int]] = set()
    edges = [64 * i // BANDS for i in range(BANDS + 1)]
    for low, high in itertools.pairwise(edges):
        keys = [(hashed >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1) for hashed in (first, second)]
        order = np.argsort(keys[0], kind="stable")
        ordered = keys[0][order]
        left, right = (np.searchsorted(ordered, keys[1], side) for side in ("left", "right"))
        for b, (start, stop) in enumerate(zip(left.tolist(), right.tolist())):
            places = order[start:stop]
            bits = np.bitwise_count(first[places] ^ second[b])
            near = bits <= MOST_BITS
            for a, differ in zip(places[near].tolist(), bits[near].tolist()):
                if (a, b) not in seen:
                    seen.add((a, b))
                    yield a, b, int(differ)
