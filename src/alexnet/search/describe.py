"""What an index is, for people and programs: its images by source and label, its layer and run, its kind."""

import collections
import os
from pathlib import Path
from typing import Any

import numpy as np

from alexnet import files
from alexnet.search.images import Names, read_names
from alexnet.search.manifest import MANIFEST, Content, read_whole


def describe_index(folder: str | os.PathLike) -> dict[str, Any]:
    """``alexnet info INDEX`` as a JSON object: ``images``, ``labels``, ``sources``, ``layer``, ``recall`` and so on.

    Args:
        folder: of the index.

    Raises:
        UsageError: no index there.
        AlexNetError: a damaged one.
    """
    content, (names, size) = read_whole(folder, _read)
    counts = np.bincount(names.sources, minlength=len(content["sources"])).tolist()
    bound = content["bound"]
    return {
        "index": os.fsdecode(folder),
        "images": content["images"],
        "sources": [{"path": files.real(path), "images": count} for path, count in zip(content["sources"], counts)],
        "left_out": [files.real(path) for path in content.get("left_out", [])],
        "labels": dict(collections.Counter(map(names.label, range(len(names)))).most_common()),
        "layer": bound["layer"],
        "numbers": bound["numbers"],
        "precision": bound["precision"],
        "run": files.real(bound["run"]),
        "step": bound["step"],
        "weights": bound["weights"],
        "kind": content["kind"],
        "recall": 1.0 if content["recall"] is None else content["recall"],
        "recall_images": content["recall_images"],
        "typical": content["typical"],
        "bytes": size,
    }


def _read(folder: Path, content: Content) -> tuple[Names, int]:
    """The images' names, and the bytes of all files."""
    paths = [folder / part["file"] for part in content["parts"].values()]
    return read_names(folder, content), sum(path.stat().st_size for path in [folder / MANIFEST, *paths])
