"""What of a source is new, changed, moved or gone since an index was made: nothing is computed twice."""

import dataclasses

import numpy as np

from alexnet.search.images import Images
from alexnet.search.source import UNKNOWN, Source


@dataclasses.dataclass(frozen=True)
class Changes:
    """How an index follows a source.

    Attributes:
        kept: places in the index's table of images that stay.
        members: of each of these its place in the source.
        new: places in the source that are to be computed.
        gone: places in the table whose images are not there any more, or have another content.
        moved: how many of the kept have another name than before.
    """

    kept: list[int]
    members: list[int]
    new: list[int]
    gone: list[int]
    moved: int = 0


def changes_of(images: Images, number: int, source: Source, stamps: np.ndarray) -> Changes:
    """Compares a source with the images that an index has of it.

    A file is unchanged where its size and its time are the same, or else its content's SHA-256. An image that was
    moved or renamed is known by its SHA-256.

    Args:
        images: the index's.
        number: of the source among the index's.
        source: as it is now.
        stamps: its.
    """
    own = {images.names[place]: place for place in np.flatnonzero(images.sources == number).tolist()}
    kept, members, suspects = [], [], []
    for member, name in enumerate(source.names):
        place = own.get(name)
        stamp = tuple(stamps[member].tolist())
        if place is not None and stamp != UNKNOWN and stamp == tuple(images.stamps[place].tolist()):
            kept.append(place)
            members.append(member)
        else:
            suspects.append(member)
    lost = set(own.values()) - set(kept)
    if not lost or not suspects:
        return Changes(kept, members, suspects, sorted(lost))
    return _by_content(images, source, Changes(kept, members, suspects, sorted(lost)))


def _by_content(images: Images, source: Source, changes: Changes) -> Changes:
    """The same, where files that seem new may be those that seem gone."""
    waiting: dict[bytes, list[int]] = {}
    for place in changes.gone:
        waiting.setdefault(images.hashes[place].tobytes(), []).append(place)
    kept, members, new, moved = list(changes.kept), list(changes.members), [], 0
    hashed = source.some(changes.new)
    for place, member, (_, read) in zip(changes.new, hashed.members, hashed.reads()):
        try:
            read()
        except OSError:  # said when it is to be computed
            new.append(place)
            continue
        same = waiting.get(hashed.hashes.get(member, b""), [])
        if not same:
            new.append(place)
            continue
        row = next((known for known in same if images.names[known] == source.names[place]), same[0])
        same.remove(row)
        moved += images.names[row] != source.names[place]
        kept.append(row)
        members.append(place)
    return Changes(kept, members, new, sorted(set(changes.gone) - set(kept)), moved)
