"""The thousand classes of ILSVRC 2012 to 2017: their WNIDs and words, as the devkit has them, in the WNIDs' order.

All published nets of a thousand classes have this order. ``imagenet-1000.csv`` holds facts of WordNet 3.0 (Princeton).
"""

import csv
import functools
from importlib import resources


@functools.cache
def classes() -> dict[str, str]:
    """Words by WNID, in order: ``n01440764`` is ``tench, Tinca tinca``, class 0."""
    text = resources.files("alexnet.data").joinpath("imagenet-1000.csv").read_text(encoding="utf-8")
    rows = iter(csv.reader(text.splitlines()))
    next(rows)
    return dict(rows)  # pyright: ignore[reportArgumentType]
