"""What is written is looked at before the work that it is for: a name that cannot be meant, a place that is denied."""

import errno
import os
from pathlib import Path

from alexnet.errors import AlexNetError, UsageError
from alexnet.files import kinds, remote
from alexnet.files.storage import REFUSED, check_written, explained, partial_of, takes_no_files, through
from alexnet.files.text import plain
from alexnet.files.urls import is_remote, only_read

DENIED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)  # of names that are right in themselves


def check_output(path: str | os.PathLike) -> None:
    """Sees that a file can be written, before the work that it is for; leaves nothing behind.

    Where a link is, what it leads to is looked at.

    Raises:
        UsageError: there is no such folder, it is a folder itself, or lies in a dataset, a checkpoint or an index.
        AlexNetError: it may not be written, or the disk is full.
    """
    if is_remote(path):
        raise only_read(path, "a local file")
    target = Path(path)
    if not target.name or os.fspath(path).endswith(("/", os.sep)):
        raise UsageError(f"{path}: {REFUSED[errno.EISDIR]}")
    try:
        target = through(path)
        with explained(path):
            if target.is_dir():
                raise UsageError(f"{path}: {REFUSED[errno.EISDIR]}")
            _check_apart(path, target)
            if target.exists() and not target.is_file():  # a device or pipe would be replaced by a file
                raise UsageError(f"{path}: is a device or a pipe; give a file's name")
            if target.exists() and not os.access(target, os.W_OK):  # it would be replaced, whoever protected it
                raise OSError(errno.EACCES, "")
            partial = partial_of(target)
            partial.touch()
            partial.unlink()
            if len(os.fsencode(target.name)) > 255:
                raise OSError(errno.ENAMETOOLONG, "")
    except AlexNetError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and (cause.errno in DENIED or takes_no_files(cause, target)):
            raise
        raise UsageError(str(error)) from error
    except ValueError as error:  # a name with a zero byte
        raise UsageError(f"{plain(str(path))!r}: {error}; give another name") from error


def _check_apart(path: str | os.PathLike, target: Path) -> None:
    """Raises ``UsageError`` where a file would lie among those of a dataset, an index, or a run's checkpoints.

    Args:
        path: as it was given.
        target: where it leads.
    """
    folder = Path(os.path.realpath(target.parent))
    mark = kinds.mark_of(folder)
    if mark in (kinds.DATASET, kinds.UNFINISHED, kinds.INDEX):
        raise UsageError(f"{path}: lies in {kinds.WORDS[mark]}, {folder}; give a place elsewhere")
    for above in (folder, *folder.parents):
        if above.name == "checkpoints" and kinds.mark_of(above.parent) == kinds.RUN:
            raise UsageError(f"{path}: lies among a run's checkpoints; give a place elsewhere")


def check_new_folder(folder: str | os.PathLike, what: str) -> None:
    """Sees that a folder can be made, before the work that it is for; leaves nothing behind.

    Args:
        folder: not there yet, or empty; what lies above it need not be there.
        what: it is for.

    Raises:
        UsageError: something is there already.
        AlexNetError: it may not be written.
    """
    if is_remote(folder):
        check_written(folder)
        if remote.listing(os.fsdecode(folder)):
            raise UsageError(f"{folder}: is there already; give another folder for {what}")
        return
    target = Path(folder)
    try:
        if os.path.lexists(target) and (not target.is_dir() or any(target.iterdir())):
            raise UsageError(f"{folder}: is there already; give another folder for {what}")
        while not target.parent.exists():
            target = target.parent
        if not target.exists():
            check_output(target)
    except AlexNetError:
        raise
    except OSError as error:
        kind = AlexNetError if error.errno in DENIED else UsageError
        raise kind(f"{folder}: cannot be written ({error.strerror}); give another folder for {what}") from error
    except ValueError as error:  # a name with a zero byte
        raise UsageError(f"{plain(str(folder))!r}: {error}; give another name") from error
