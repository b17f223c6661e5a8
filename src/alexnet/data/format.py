"""The dataset's format on disk: images in Arrow IPC stream shards, and what describes them. Nothing else knows it.

A dataset is a folder::

    train-00000.arrow ...    columns image (struct of bytes and path), label (int64), class (its name)
    val-00000.arrow ...      in record batches of 256 rows; `datasets`, polars, pandas and DuckDB open them
    dataset.json             version, classes, how images were made, rows and SHA-256 of every shard; its own SHA-256
    labels.safetensors       the label of every row
    statistics.safetensors   exact sums over the training images
    skipped.csv              images left out, with the reason
    duplicates.csv           pairs of training and validation images that look alike, if they were looked for

Rows have ids: 0, 1, ... through train, then val, then test. Stores of format 1 (columns image, label, name) are read.
"""

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np
import pyarrow as pa
import safetensors.numpy

from alexnet import files
from alexnet.data import SPLITS
from alexnet.data import codec as images
from alexnet.errors import AlexNetError, UsageError
from alexnet.files import Count, Form, Length, Sha, Within, mistakes

FORMAT_VERSION = 2
SHARD_ROWS = 8192
BATCH_ROWS = 256
DESCRIPTION, LABELS = "dataset.json", "labels.safetensors"
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CLASS = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema([("image", IMAGE), ("label", pa.int64()), ("class", CLASS)])
SCHEMA_1 = pa.schema([("image", pa.binary()), ("label", pa.int32()), ("name", pa.string())])


def write_description(path: str | os.PathLike, description: dict[str, Any]) -> None:
    """``dataset.json``, which says the SHA-256 of its own content: a change made by hand is seen by ``verify``."""
    files.write_json(files.join(path, DESCRIPTION), files.seal(description))


def labels_of(shard: str | os.PathLike) -> np.ndarray:
    """(rows,) int32, the labels in a finished shard."""
    batches = pa.ipc.open_stream(files.map_file(shard))
    return np.concatenate([np.zeros(0, np.int32), *(batch.column("label").to_numpy() for batch in batches)]).astype(
        np.int32
    )


def write_labels(path: str | os.PathLike, labels: Sequence[np.ndarray]) -> str:
    """Writes the labels of shards, in their order, into a file of their own; returns its SHA-256."""
    content = safetensors.numpy.save({"labels": np.concatenate([np.zeros(0, np.int32), *labels])})
    files.write_bytes(files.join(path, LABELS), content)
    return files.sha256_bytes(content)


def schema(words: Sequence[str]) -> pa.Schema:
    """A shard's schema, with what the Hugging Face `datasets` library wants to know of the columns."""
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": list(words)},
        "class": {"_type": "Value", "dtype": "string"},
    }
    return SCHEMA.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


class ShardWriter:
    """Writes one shard, row after row, in flat memory; it appears whole at ``close``.

    Args:
        path: of the shard.
        words: what the classes are called.
    """

    def __init__(self, path: str | os.PathLike, words: Sequence[str]):
        self.path = path
        self.rows = 0
        self._pending: list[tuple[bytes, int, str]] = []
        self._schema = schema(words)
        self._words = pa.array(words, pa.string())
        self._atomic = files.atomic(path)
        with files.explained(path):
            self._file = self._atomic.__enter__()
            self._writer = pa.ipc.new_stream(self._file, self._schema)

    def add(self, image: bytes, label: int, name: str) -> None:
        """Adds a row; what in the name is no UTF-8 is written as ``\\xNN``."""
        self._pending.append((image, label, files.plain(name)))
        self.rows += 1
        if len(self._pending) == BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            image, label, path = zip(*self._pending)
            pictures = pa.StructArray.from_arrays([pa.array(image, pa.binary()), pa.array(path)], fields=list(IMAGE))
            classes = pa.DictionaryArray.from_arrays(pa.array(label, pa.int32()), self._words)
            with files.explained(self.path):
                self._writer.write_batch(
                    pa.record_batch([pictures, pa.array(label, pa.int64()), classes], schema=self._schema)
                )
            self._pending = []

    def close(self) -> None:
        """Finishes the shard and moves it to its place."""
        self._flush()
        with files.explained(self.path):
            self._writer.close()
        self._atomic.__exit__(None, None, None)

    def abandon(self) -> None:
        """Removes what was written."""
        error = AlexNetError("abandoned")
        try:
            self._atomic.__exit__(AlexNetError, error, None)
        except AlexNetError as raised:
            if raised is not error:
                raise


class Rows:
    """The columns of a record batch, of either format."""

    __slots__ = ("images", "labels", "names")

    def __init__(self, batch: pa.RecordBatch, version: int):
        if version == 1:
            self.images, self.labels, self.names = batch.columns
        else:
            self.images, self.names = batch.column(0).flatten()
            self.labels = batch.column(1)


@dataclasses.dataclass(frozen=True)
class Shard:
    """One shard's entry in ``dataset.json``."""

    file: str
    split: str
    rows: int
    sha256: str


Name = Annotated[str, Length(0, 1 << 16)]


class ShardEntry(TypedDict):
    """A shard in ``dataset.json``; its file is one in the dataset's own folder."""

    file: Annotated[str, Form(rf"({'|'.join(SPLITS)})-\d{{5,}}\.arrow", "must be SPLIT-NNNNN.arrow")]
    split: Literal["train", "val", "test"]
    rows: Count
    sha256: Sha


class Summary(TypedDict):
    """The small statistics."""

    mean: Annotated[list[float], Length(3, 3)]
    deviation: Annotated[list[float], Length(3, 3)]


class Description(TypedDict):
    """``dataset.json``."""

    format_version: Annotated[int, Within(1, 10**6)]
    classes: Annotated[list[Name], Length(1, 1 << 24)]
    words: NotRequired[list[Name] | None]
    format: Literal["jpeg", "raw"]
    size: Annotated[int, Within(1, images.MOST_SIDE)]
    resize: NotRequired[Literal["shorter-side", "warp"]]
    resized: str
    decoder: str
    layout: str
    shards: list[ShardEntry]
    skipped: Count
    duplicates: NotRequired[Count | None]
    statistics: Summary
    statistics_sha256: Sha
    labels_sha256: NotRequired[Sha]  # since labels have a file of their own


REMEDY = "the dataset was damaged; remove its folder and prepare it again"


def read_description(path: str) -> dict[str, Any]:
    """A dataset's ``dataset.json``, held against its form.

    Raises:
        UsageError: no dataset there, or one of a newer format.
        AlexNetError: an unfinished or damaged dataset.
    """
    file = files.join(path, DESCRIPTION)
    if not path.strip() or not files.exists(file):
        if path.strip() and files.exists(files.join(path, "prepare.json")):
            raise AlexNetError(f"{path}: preparing it was not finished; give the same `alexnet prepare` command again")
        mistakes.refuse(path, "dataset")
    version = files.read_json(file, dict, REMEDY).get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise UsageError(
            f"{path}: a dataset of format {version}, newer than this alexnet reads ({FORMAT_VERSION}); upgrade alexnet"
        )
    description = files.read_json(file, Description, REMEDY)
    for number, entry in enumerate(description["shards"]):
        if not entry["file"].startswith(entry["split"] + "-"):
            raise AlexNetError(f"{file}: shards[{number}].file: {entry['file']}: is of another split; {REMEDY}")
    words = description.get("words")
    if words is not None and len(words) != len(description["classes"]):
        raise AlexNetError(f"{file}: words: {len(words):,} for {len(description['classes']):,} classes; {REMEDY}")
    if len(set(description["classes"])) != len(description["classes"]):
        raise AlexNetError(f"{file}: classes: one comes twice; {REMEDY}")
    return description
