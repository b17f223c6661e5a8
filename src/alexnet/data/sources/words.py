"""What classes are called: the files in which ImageNet's releases say it, wherever a source has one of them.

WNIDs (``n01440764``) come with words (``tench, Tinca tinca``) in Kaggle's ``LOC_synset_mapping.txt``, Caffe's
``synset_words.txt``, WordNet's ``words.txt`` (Tiny ImageNet and the larger releases), or a devkit's ``meta.mat``.
"""

import io
import re
import tarfile
from typing import NamedTuple

from alexnet.data import imagenet
from alexnet.data.sources.mat import read_struct
from alexnet.data.sources.text import decode, lines_of
from alexnet.data.sources.tree import Tree
from alexnet.errors import AlexNetError

WNID = re.compile(r"n\d{8}")
LISTS = ("LOC_synset_mapping.txt", "synset_words.txt", "words.txt")
DEVKIT = re.compile(r"(?:ILSVRC\d{4}_)?devkit[\w.-]*\.(?:tar\.gz|tgz|tar)", re.IGNORECASE)


class Synset(NamedTuple):
    """One row of a devkit's ``meta.mat``: 1..1000 are the challenge's classes, above are their parents."""

    number: int
    wnid: str
    words: str


class Devkit:
    """An ILSVRC devkit, from its archive or its unpacked folder, within a tree.

    Attributes:
        place: what it was read from.
        synsets: the rows of ``data/meta.mat``.
    """

    def __init__(self, place: str, members: dict[str, bytes]):
        self.place, self._members = place, members
        data = next((data for name, data in members.items() if name.split("/")[-1] == "meta.mat"), None)
        if data is None:
            raise AlexNetError(f"{place}: has no data/meta.mat; fetch the devkit again")
        self.synsets = read_meta(data, f"{place}: data/meta.mat")

    def text(self, ending: str) -> str | None:
        """The text file whose name ends so, or None."""
        found = (data for name, data in self._members.items() if name.endswith(ending))
        data = next(found, None)
        return None if data is None else decode(data, f"{self.place}: {ending}")


def find_devkit(tree: Tree) -> Devkit | None:
    """The devkit in a tree, or None."""
    for place, name in enumerate(tree.names):
        if DEVKIT.fullmatch(name.split("/")[-1]):
            content = tree.read(place)
            assert isinstance(content, bytes)
            return Devkit(f"{tree.path}/{name}", _unpack(content, f"{tree.path}/{name}"))
    place = tree.find("meta.mat")
    if place is None:
        return None
    folder = tree.names[place].rpartition("/")[0]
    below = [i for i, name in enumerate(tree.names) if name.rpartition("/")[0] == folder and name.endswith("txt")]
    return Devkit(f"{tree.path}/{folder}", {tree.names[i]: bytes(tree.read(i)) for i in (place, *below)})


def _unpack(content: bytes, place: str) -> dict[str, bytes]:
    """The small files of a devkit's archive, in memory."""
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                if member.isreg() and member.size < 1 << 26 and member.name.endswith((".mat", ".txt")):
                    file = archive.extractfile(member)
                    assert file is not None
                    found[member.name] = file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise AlexNetError(f"{place}: damaged or not complete ({error}); fetch the devkit again") from error
    return found


def read_meta(data: bytes, place: str) -> list[Synset]:
    """The synsets of a ``meta.mat``. Raises ``AlexNetError`` where it is none."""
    try:
        rows = read_struct(data, "synsets")
        number = next((name for name in rows[0] if re.fullmatch(r"ILSVRC\d{4}_ID", name)), None) if rows else None
        if number is None:
            raise ValueError("no field of ids")
        found = [(row[number], row.get("WNID"), row.get("words")) for row in rows]
        return [
            Synset(int(i), w, t)
            for i, w, t in found
            if isinstance(i, float) and isinstance(w, str) and isinstance(t, str)
        ]
    except (ValueError, OverflowError) as error:
        raise AlexNetError(f"{place}: not readable as a devkit's ({error}); fetch the devkit again") from error


def find_words(tree: Tree, classes: list[str]) -> list[str] | None:
    """Words for classes that are WNIDs, from a list or devkit within the tree, or because they are among ImageNet's
    thousand; None where there is none for all."""
    if not all(WNID.fullmatch(name) for name in classes):
        return None
    for name in LISTS:
        text = tree.text(name)
        if text:
            lines = (re.split(r"[ \t]", line, maxsplit=1) for line in lines_of(text))
            known = {parts[0]: parts[1] for parts in lines if len(parts) == 2}
            if all(each in known for each in classes):
                return [known[each].strip() for each in classes]
    devkit = find_devkit(tree)
    if devkit:
        known = {synset.wnid: synset.words for synset in devkit.synsets}
        if all(each in known for each in classes):
            return [known[each] for each in classes]
    known = imagenet.classes()
    return [known[each] for each in classes] if all(each in known for each in classes) else None
