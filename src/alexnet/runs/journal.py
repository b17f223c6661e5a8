"""The lines of a run's journal: ``metrics.jsonl`` and ``timings.jsonl``."""

import contextlib
import errno
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
    """A journal's bytes; none where there is no file yet.

    Raises:
        OSError: it cannot be read, could be read for ever (a pipe, a device), or is beyond all sizes. Whoever goes on
            with a journal must not take it for an empty one.
    """
    if not Path(path).exists():
        return b""
    if not Path(path).is_file():
        raise OSError(errno.EINVAL, "is no regular file", os.fspath(path))
    if Path(path).stat().st_size > MOST_BYTES:
        raise OSError(errno.EFBIG, f"is larger than {MOST_BYTES >> 30} GiB", os.fspath(path))
    return Path(path).read_bytes()


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


@files.of_run
def read_metrics(folder: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines of a run's ``metrics.jsonl`` that have their figures."""
    lines = []
    for _, line in read_journal(Path(folder, "metrics.jsonl"))[0]:
        with contextlib.suppress(Misfit):
            lines.append(checked(line, MetricsLine))
    return lines
