"""The standard streams, and what is written to them: lines, JSON, why a command ends."""

import contextlib
import errno
import io
import os
import re
import sys
from collections.abc import Iterable
from typing import Any

from alexnet import files
from alexnet.ranks import current


def open_streams() -> None:
    """Makes the standard streams ones that can be written to, whatever letters come and whatever the caller closed."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # else a file opened later is taken for a closed stream
        pass
    os.close(number)
    if sys.stdout is None:
        sys.stdout = _Closed()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=files.NAMED_BYTES)


class _Closed(io.TextIOBase):
    """Standard output where the caller has closed it: what is to be said cannot be."""

    def write(self, s: str) -> int:
        raise OSError(errno.EBADF, "standard output is closed")


def operating_system(error: OSError) -> str:
    """What an operating system's error is, in a line; one without a file's name is of the standard output."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        closed = error.errno in (errno.ENOSPC, errno.EBADF, errno.EIO, errno.EDQUOT, errno.EFBIG)
        return f"standard output: cannot be written ({reason})" if closed else reason
    return f"{os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename}: {reason}"


OUT_OF_MEMORY = re.compile("not enough memory|out of memory|can't allocate memory|failed to allocate", re.IGNORECASE)


LESS = {  # memory, by option
    "--batch-size": "a smaller --batch-size",
    "--grad-accumulation": "more --grad-accumulation",
    "--count": "a smaller --count",
    "--views": "fewer --views",
    "--workers": "fewer --workers",
    "--device": "--device cpu where it is the GPU's",
}


def exhausted(error: Exception, page: str) -> str | None:
    """What this machine has too little of, and what to lower; None where it is something else.

    Args:
        error: what was raised.
        page: the command's help, which has its options.
    """
    reason = str(error).strip().splitlines()[:1]
    if isinstance(error, RecursionError):
        return "something that was read is nested too deeply"
    if isinstance(error, UnicodeError):
        return f"a text cannot be read or written ({error})"
    if "can't start new thread" in str(error):
        fewer = " or ".join(option for option in ("--workers", "--threads") if f"{option} " in page)
        return f"this machine starts no more threads; {f'give fewer {fewer}' if fewer else 'end other programs'}"
    if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)):
        detail = f" ({reason[0][:160]})" if reason else ""
        less = [words for option, words in LESS.items() if f"{option} " in page]
        remedy = f"give less at once: {' or '.join(less)}" if less else "end other programs"
        return f"not enough memory{detail}; {remedy}"
    return None


def say(line: object) -> None:
    """A line on the standard output: names in it cannot break it, nor reach the terminal."""
    print(files.shown(line))


def say_written(paths: Iterable[str | None], json: bool) -> None:
    """Which files there are now, unless nothing but JSON may be on the standard output."""
    written = ", ".join(path for path in paths if path)
    if written and not json:
        say(f"written: {written}")


def warn(line: object) -> None:
    """A line on the standard error, of the process that speaks; that nobody can read it is no reason to stop."""
    if current().first:
        _write_error(line)


def _write_error(line: object) -> None:
    with contextlib.suppress(OSError):
        print(files.shown(line), file=sys.stderr, flush=True)


def fail(what: object, status: int) -> int:
    """Says why the command ends, and leaves nothing for the interpreter to fail at when it flushes its streams."""
    if what is not None:
        _write_error(f"alexnet: {what}" if status == 130 else f"error: {what}")
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                number = os.open(os.devnull, os.O_WRONLY)
                os.dup2(number, stream.fileno())
                os.close(number)
    return status


def print_json(value: Any) -> int:
    write_json(value, 2)
    return 0


def write_json(value: Any, indent: int | None) -> None:
    """JSON on the standard output, in letters that its encoding has."""
    sys.stdout.write(files.json_shown(files.to_json(value, indent), sys.stdout) + "\n")
