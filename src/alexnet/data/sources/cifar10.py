"""CIFAR-10 as its makers distribute it, the Python version (pickles) and the binary one; 32x32.

A pickle can run any code. These are read with an unpickler that admits NumPy arrays and plain containers only.
"""

import io
import pickle
import pickletools
import re
from typing import Any

import numpy as np

from alexnet.data.sources.listing import Listing, Source
from alexnet.data.sources.tree import Tree
from alexnet.errors import AlexNetError

EXPECTED = "cifar-10-batches-py/ or cifar-10-batches-bin/, in their archive or unpacked"
BATCH = re.compile(r"(?:.*/)?(data_batch_[1-5]|test_batch)(\.bin)?")
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SIDE = 32
BYTES = 3 * SIDE * SIDE
# Of a pickle of arrays and plain containers, protocols 0 to 4.
OPCODES = {
    *("PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE"),
    *("NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"),
    *(
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "BINBYTES",
        "SHORT_BINBYTES",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
    ),
    *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT"),
    *("DICT", "SETITEM", "SETITEMS", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
    *("PUT", "BINPUT", "LONG_BINPUT", "GET", "BINGET", "LONG_BINGET", "MEMOIZE"),
}


def _empty_array(kind: object, shape: tuple, code: object) -> np.ndarray:
    """What NumPy's pickles begin an array with; its state follows."""
    if shape != (0,):
        raise pickle.UnpicklingError(f"an array that begins with shape {shape}")
    return np.empty(0, np.uint8)


def _latin_1(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into an old pickle."""
    if encoding.replace("-", "") != "latin1":
        raise pickle.UnpicklingError(f"an encoding {encoding}")
    return text.encode("latin-1")


ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): "ndarray",  # only ever the first argument of the next
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin_1,
}


class Unpickler(pickle.Unpickler):
    """Reads a pickle of NumPy arrays and plain containers; refuses whatever else it names."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in ADMITTED:
            raise pickle.UnpicklingError(f"names {module_name}.{global_name}, which is neither array nor container")
        return ADMITTED[module_name, global_name]


def unpickle(content: bytes) -> Any:
    """An object of NumPy arrays and plain containers.

    Raises:
        Exception: of any kind, where the bytes are no such pickle.
    """
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name not in OPCODES:
            raise pickle.UnpicklingError(f"uses {opcode.name}, which arrays and containers do not need")
        if opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > len(content):  # a table of that length
            raise pickle.UnpicklingError(f"numbers an object {argument}")
    return Unpickler(io.BytesIO(content), encoding="bytes").load()


class PixelTree(Tree):
    """Images that are pixels already."""

    kind = "arrays"

    def __init__(self, path: str, names: list[str], pixels: np.ndarray):
        super().__init__(path, names)
        self._pixels = pixels

    def read(self, member: int) -> np.ndarray:
        return self._pixels[member]


def matches(tree: Tree) -> bool:
    """Whether a batch of training and one of test images are there."""
    found = {match[1] for name in tree.names if (match := BATCH.fullmatch(name))}
    return "data_batch_1" in found and "test_batch" in found


def source(tree: Tree) -> Source:
    """The batches' images; there is no validation split.

    Raises:
        AlexNetError: a batch is damaged, or its pickle names something that is no array.
    """
    pixels, labels, names, splits = [], [], [], []
    wanted = [place for place, name in enumerate(tree.names) if BATCH.fullmatch(name)]
    for place, content in tree.stream(wanted):
        if isinstance(content, OSError):
            raise content
        name = tree.names[place]
        where = f"{tree.path}/{name}"
        found = (_read_binary if name.endswith(".bin") else _read_pickle)(bytes(content), where)
        stem = name.split("/")[-1].removesuffix(".bin")
        count = len(found[1])
        pixels.append(found[0])
        labels.append(found[1])
        names += found[2] or [f"{stem}/{number:05d}" for number in range(count)]
        splits.append(np.full(count, 0 if stem.startswith("data") else 2, np.uint8))
    listing = Listing(
        "cifar10",
        CLASSES,
        np.arange(len(names)),
        np.concatenate(labels),
        np.concatenate(splits),
        size=SIDE,
    )
    images = np.concatenate(pixels).reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return Source(PixelTree(tree.path, names, images), listing.in_order())


def _read_binary(content: bytes, where: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    if not content or len(content) % (1 + BYTES):
        raise AlexNetError(f"{where}: {len(content):,} bytes are not records of {1 + BYTES:,}; fetch it again")
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + BYTES)
    return (*_checked(records[:, 1:], records[:, 0].astype(np.int32), where), [])


def _read_pickle(content: bytes, where: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    try:
        told = unpickle(content)
        told = {key.decode() if isinstance(key, bytes) else key: value for key, value in told.items()}
        data, labels = np.asarray(told["data"]), np.asarray(told["labels"])
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != BYTES or labels.shape != data.shape[:1]:
            raise ValueError(f"data of shape {data.shape} and type {data.dtype}")
        names = [
            n.decode("utf-8", "surrogateescape") if isinstance(n, bytes) else str(n) for n in told.get("filenames", [])
        ]
    except Exception as error:  # a pickle can fail in any way
        raise AlexNetError(f"{where}: no batch of CIFAR-10 ({error}); fetch it again") from error
    found = _checked(data, labels.astype(np.int32), where)
    return (*found, names if len(names) == len(labels) else [])


def _checked(data: np.ndarray, labels: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(CLASSES):
        raise AlexNetError(
            f"{where}: labels from {labels.min()} to {labels.max()} where CIFAR-10 has 0 to 9; fetch it again"
        )
    return data, labels
