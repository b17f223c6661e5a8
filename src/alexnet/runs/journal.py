"""The lines of a run's journal: ``metrics.jsonl`` and ``timings.jsonl``."""

import contextlib
import os
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from alexnet import files
from alexnet.files import Count, Misfit, Within, checked

Share = Annotated[float, Within(0, 1)]


class MetricsLine(TypedDict):
    """A line of ``metrics.jsonl``."""

    step: Count
    split: str
    epoch: Annotated[float, Within(0, 1e9)]
    loss: float | None
    rate: NotRequired[float]
    top1_error: Share
    top5_error: Share


class Line(TypedDict):
    """A line of ``metrics.jsonl`` or ``timings.jsonl``, as far as a training that is resumed must know it."""

    step: Count


def read_journal(path: str | os.PathLike) -> tuple[list[tuple[bytes, dict[str, Any]]], int]:
    """The lines of a run's journal that can be read, as they lie there and as they read, and how many cannot be.

    A journal is written beside the training: a power cut may leave zeros in it, and its last line may be cut off, which
    does not count.
    """
    lines, unreadable = [], 0
    content = Path(path).read_bytes() if Path(path).exists() else b""
    for line in content.splitlines(keepends=True):
        try:
            lines.append((line, checked(files.parse_json(line), Line)))
            if not line.endswith(b"\n"):
                lines.pop()
        except ValueError:
            unreadable += line.endswith(b"\n")
    return lines, unreadable


def read_metrics(folder: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines of a run's ``metrics.jsonl`` that have their figures."""
    lines = []
    for _, line in read_journal(Path(folder, "metrics.jsonl"))[0]:
        with contextlib.suppress(Misfit):
            lines.append(checked(line, MetricsLine))
    return lines
