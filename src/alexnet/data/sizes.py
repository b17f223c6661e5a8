"""Whether all images of a source have one size: then small ones are stored as they are, not enlarged."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from alexnet.data import codec as images
from alexnet.data.sources import Source
from alexnet.data.sources.tree import Content

MOST = 20_000  # images that are looked at; of more, as many at equal distances


def with_own_size(source: Source) -> Source:
    """The source with the size at which it is stored unless the user says otherwise.

    That is the shorter side of its images where they all have one size and it is at most half the usual one: enlarged
    to twice their size or more, a net's crop would see a small part of each. Headers are read up to the first that
    differs, so that of most sources two are.
    """
    listing = source.listing
    size = _common_size(source, listing.size)
    if size is None:
        return source
    width, height = size
    note = f"all images are {width}x{height}: stored at {min(size)} pixels (--size {listing.size} enlarges them)"
    return Source(source.tree, dataclasses.replace(listing, size=min(size), notes=[*listing.notes, note]))


def _common_size(source: Source, usual: int) -> tuple[int, int] | None:
    """Width and height that all images have, the shorter at most half of ``usual``; None where there is none."""
    common = None
    for content in _contents(source):
        size = None if isinstance(content, OSError) else images.dimensions(content)
        if size is None:  # a bad image, which will be left out
            continue
        if not images.SMALLEST <= min(size) <= usual // 2 or common not in (None, size):
            return None
        common = size
    return common


def _contents(source: Source) -> Iterator[Content]:
    """The images, or some of very many, as the source has them."""
    rows = np.arange(len(source.listing))
    if len(rows) > MOST:
        rows = rows[np.linspace(0, len(rows) - 1, MOST).astype(np.int64)]
    if source.sequential:
        rows = rows[np.argsort(source.listing.members[rows], kind="stable")]
        for _, content in source.stream(rows):
            yield content
        return
    for row in rows.tolist():
        try:
            yield source.read(row)
        except OSError as error:
            yield error
