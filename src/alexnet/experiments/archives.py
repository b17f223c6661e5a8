"""A small ILSVRC-2010 and ILSVRC-2012 in the layouts of the organizers' archives, with drawn images.

A training tar of one tar a class, validation and test tars, and a devkit with ``meta.mat`` and the ground truth. As in
the real ones, synset ids are in another order than the WNIDs, and archives are not in the order of their names. 2010
has a damaged training image that ``patch_images.tar`` mends, 2012 one that nothing mends, and test images whose labels
were never published. ``alexnet.data.sources.ilsvrc`` says what is where.
"""

import io
import struct
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from alexnet import files
from alexnet.data import synthetic as drawn

YEARS = (2010, 2012)
SYNSETS = len(drawn.CLASSES)
SIZES = ((352, 288), (288, 352))  # pixels of the images, wide and tall: neither square nor of the stored size
APART = 1_000_000  # drawn images of one year begin so far from those of the other
DAMAGED = 3  # place among the training images of the one that is cut off
FIELD = 32  # bytes of a field's name in a MAT file
Value = str | float | list[int]  # of a cell of a MAT file


class Item(NamedTuple):
    """An image of the archives: its split, file name and class, and which drawn image it is."""

    split: str
    name: str
    label: int
    drawn: int


def wnid(label: int) -> str:
    """The WNID of a class of ``drawn.CLASSES``; in another order than these."""
    return f"n{90_000_000 + 11 * ((5 * label + 3) % SYNSETS):08d}"


def synset(label: int) -> int:
    """The devkit's id of a class, from 1; in the order of neither."""
    return 1 + (3 * label + 6) % SYNSETS


def contents(year: int, training: int) -> list[Item]:
    """Every image of a year's archives: ``training`` ones, and a quarter as many for validation and for the test."""
    items = []
    start = APART * YEARS.index(year)
    for split, count in (("train", training), ("val", training // 4), ("test", training // 4)):
        for number in range(count):
            label = (3 * number + number // SYNSETS) % SYNSETS
            name = f"{wnid(label)}_{number}" if split == "train" else f"ILSVRC{year}_{split}_{number + 1:08d}"
            items.append(Item(split, f"{name}.JPEG", label, start + number))
        start += count
    return items


def write(year: int, folder: Path, training: int) -> None:
    """Writes a year's archives into ``folder``, whole or not at all; nothing where they are there already."""
    if folder.exists():
        return
    items = contents(year, training)
    kind = "images" if year == 2010 else "img"
    with files.atomic_folder(folder) as partial:
        classes: dict[str, dict[str, bytes]] = {}
        for number, item in enumerate(item for item in items if item.split == "train"):
            content = jpeg(item)
            damaged = content[: len(content) // 3]
            classes.setdefault(wnid(item.label), {})[item.name] = damaged if number == DAMAGED else content
        _write_tar(partial / f"ILSVRC{year}_{kind}_train.tar", {f"{name}.tar": tar(of) for name, of in classes.items()})
        for split in ("val", "test"):
            inner = "" if (year, split) == (2012, "val") else f"{split}/"
            members = {inner + item.name: jpeg(item) for item in reversed(items) if item.split == split}
            published = "_v10102019" if (year, split) == (2012, "test") else ""
            _write_tar(partial / f"ILSVRC{year}_{kind}_{split}{published}.tar", members)
        if year == 2010:
            mended = items[DAMAGED]
            _write_tar(partial / "patch_images.tar", {f"patch_images/train/{mended.name}": jpeg(mended)})
            (partial / "ILSVRC2010_test_ground_truth.txt").write_bytes(_truth(items, "test"))
        _write_devkit(year, partial, items)


def _write_devkit(year: int, folder: Path, items: Sequence[Item]) -> None:
    """``meta.mat`` and the validation images' ground truth, in the archive of their year's name."""
    inner, name = ("devkit-1.0", "ILSVRC2010_devkit-1.0") if year == 2010 else ("ILSVRC2012_devkit_t12",) * 2
    kit = {
        f"{inner}/data/meta.mat": meta(year, items),
        f"{inner}/data/ILSVRC{year}_validation_ground_truth.txt": _truth(items, "val"),
        f"{inner}/readme.txt": b"Drawn images in the layout of the challenge's archives.\n",
    }
    (folder / f"{name}.tar.gz").write_bytes(tar(kit, "w:gz"))


def _truth(items: Sequence[Item], split: str) -> bytes:
    """A synset's id for each image of a split, in the order of their names."""
    return "".join(f"{synset(item.label)}\n" for item in items if item.split == split).encode("ascii")


def jpeg(item: Item) -> bytes:
    """The image as the archive has it."""
    buffer = io.BytesIO()
    Image.fromarray(drawn.draw(item.drawn, item.label)).resize(SIZES[item.drawn % 2]).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def tar(members: Mapping[str, bytes], mode: str = "w") -> bytes:
    """A tar archive of some files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _write_tar(path: Path, members: Mapping[str, bytes]) -> None:
    path.write_bytes(tar(members))


def meta(year: int, items: Sequence[Item]) -> bytes:
    """A devkit's ``meta.mat``: a struct array of the classes in the order of their ids, and one parent above them."""
    images = [sum(item.split == "train" and item.label == label for item in items) for label in range(SYNSETS)]
    kinds = sorted((synset(label), wnid(label), drawn.CLASSES[label], images[label]) for label in range(SYNSETS))
    rows: list[tuple[Value, ...]] = [(*row[:3], "a drawn pattern", 0, [], 0, row[3]) for row in kinds]
    rows.append((SYNSETS + 1, "n00001740", "entity", "all of them", SYNSETS, [row[0] for row in kinds], 1, 0))
    names = (f"ILSVRC{year}_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height")
    return mat("synsets", (*names, "num_train_images"), rows)


def mat(name: str, fields: Sequence[str], rows: Sequence[Sequence[Value]]) -> bytes:
    """A MAT file of level 5 with one struct array of numbers, lists of numbers and texts (MathWorks, chapter 1)."""
    cells = b"".join(_cell(value) for row in rows for value in row)
    names = b"".join(field.encode("ascii").ljust(FIELD, b"\0") for field in fields)
    length = struct.pack("<HHi", 5, 4, FIELD)  # a small element: its bytes lie within the tag
    content = _matrix(2, (len(rows), 1), name, length + _element(1, names) + cells)
    return b"MATLAB 5.0 MAT-file, drawn".ljust(116) + bytes(8) + struct.pack("<H", 0x0100) + b"IM" + content


def _element(kind: int, data: bytes) -> bytes:
    """A data element of a type, padded to eight bytes."""
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def _matrix(kind: int, shape: tuple[int, int], name: str, content: bytes) -> bytes:
    """A matrix element of a class: flags, dimensions, name, content."""
    head = _element(6, struct.pack("<II", kind, 0)) + _element(5, struct.pack("<2i", *shape))
    return _element(14, head + _element(1, name.encode("ascii")) + content)


def _cell(value: Value) -> bytes:
    """A text as characters, anything else as doubles."""
    if isinstance(value, str):
        return _matrix(4, (1, len(value)), "", _element(4, value.encode("utf-16-le")))
    numbers = [float(one) for one in (value if isinstance(value, list) else [value])]
    return _matrix(6, (min(1, len(numbers)), len(numbers)), "", _element(9, struct.pack(f"<{len(numbers)}d", *numbers)))
