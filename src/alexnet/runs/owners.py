"""Who writes in a run's folder: the process that trains, and above it a launcher that starts such processes again.

Each has a lock of its own. The launcher's stays while none of its processes lives; that of the process that trains
stays where the launcher alone was killed.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from alexnet import files

LAUNCHER_LOCK = f"{files.LOCK}-launcher"
LAUNCHER = "ALEXNET_LAUNCHER"  # in the environment: the process that holds the folders for those that it starts


@contextlib.contextmanager
def held(folders: Sequence[str | os.PathLike[str]]) -> Iterator[None]:
    """Within the block only processes that this one starts may train in runs' folders, even while none of them lives.

    Folders are made where they are not there; new ones in which nothing came are removed again.

    Raises:
        AlexNetError: another job trains, or is about to start again, in one of them.
    """
    with contextlib.ExitStack() as stack:
        for folder in map(files.work_place, folders):
            stack.callback(_remove_empty, [path for path in (folder, *folder.parents) if not path.exists()])
            stack.enter_context(files.owned(files.make_folder(folder), LAUNCHER_LOCK))
        os.environ[LAUNCHER] = str(os.getpid())
        stack.callback(os.environ.pop, LAUNCHER, None)
        yield


@contextlib.contextmanager
def owned(folder: str | os.PathLike[str], say: Callable[[str], None]) -> Iterator[None]:
    """Within the block this process alone trains in a run's folder, which is made if it is not there.

    Args:
        folder: the run's.
        say: is told where a dead owner's place is taken.

    Raises:
        AlexNetError: another process trains there, or a launcher that did not start this one holds it.
    """
    folder = files.make_folder(folder)
    if (folder / LAUNCHER_LOCK).exists() and not _held_for_us(folder):
        with files.owned(folder, LAUNCHER_LOCK):  # refused unless the launcher is dead
            pass
    with files.owned(folder, say=say):
        yield


def _held_for_us(folder: Path) -> bool:
    """Whether the launcher that holds a folder has started this process."""
    owner = files.owner_of(folder, LAUNCHER_LOCK)
    return owner is not None and str(owner["process"]) == os.environ.get(LAUNCHER)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Removes folders, the innermost first, as far as they are empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
