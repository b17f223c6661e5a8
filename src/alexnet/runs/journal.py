"""The lines of a run's journal: ``metrics.jsonl`` and ``timings.jsonl``."""

import contextlib
import os
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from alexnet import files
from alexnet.files import Count, Misfit, Within, checked

MOST_BYTES = 1 << 31  # of a journal
LARGEST = 1e30  # of a loss or a rate; beyond it nothing can be drawn
Share = Annotated[float, Within(0, 1)]


class MetricsLine(TypedDict):
    """A line of ``metrics.jsonl``."""

    step: Count
    split: str
    epoch: Annotated[float, Within(0, 1e9)]
    loss: Annotated[float, Within(-LARGEST, LARGEST)] | None
    rate: NotRequired[Annotated[float, Within(0, LARGEST)]]
    top1_error: Share
    top5_error: Share


class Line(TypedDict):
    """A line of ``metrics.jsonl`` or ``timings.jsonl``, as far as a training that is resumed must know it."""

    step: Count


def journal_bytes(path: str | os.PathLike) -> bytes:
    """A journal's bytes; none where there is no regular file, which could be read for ever, or one beyond all sizes."""
    with contextlib.suppress(OSError):
        if Path(path).is_file() and Path(path).stat().st_size <= MOST_BYTES:
            return Path(path).read_bytes()
    return b""


def read_journal(path: str | os.PathLike) -> tuple[list[tuple[bytes, dict[str, Any]]], int]:
    """The lines of a run's journal that can be read, as they lie there and as they read, and how many cannot be.

    A journal is written beside the training: a power cut may leave zeros in it, and its last line may be cut off, which
    does not count.
    """
    lines, unreadable = [], 0
    for line in journal_bytes(path).splitlines(keepends=True):
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
