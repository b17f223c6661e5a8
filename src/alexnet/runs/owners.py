"""Who writes in a run's folder: the process that trains, and above it a launcher that starts such processes again.

Each has a lock of its own. The launcher's stays while none of its processes lives; that of the process that trains
stays where the launcher alone was killed. A launcher of several seeds holds the folder that theirs are in.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from alexnet import files
from alexnet.ranks import LAUNCHER

LAUNCHER_LOCK = f"{files.LOCK}-launcher"
SEED = "seed-"  # begins the name of a seed's folder


@contextlib.contextmanager
def held(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Within the block only processes that this one starts may train in a run's folder, even while none of them lives.

    A folder that is not there is made; a new one in which nothing came is removed again.

    Args:
        folder: the run's, or the one of several seeds' runs.

    Raises:
        AlexNetError: another job trains, or is about to start again, there.
    """
    place = files.work_place(folder)
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_empty, [path for path in (place, *place.parents) if not path.exists()])
        stack.enter_context(files.owned(files.make_folder(place), LAUNCHER_LOCK))
        os.environ[LAUNCHER] = _words(place)
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
    for place in (folder, folder.parent) if folder.name.startswith(SEED) else (folder,):
        if (place / LAUNCHER_LOCK).exists() and _words(place) != os.environ.get(LAUNCHER):
            with files.owned(place, LAUNCHER_LOCK):  # refused unless the launcher is dead
                pass
    with files.owned(folder, say=say):
        yield


def _words(folder: Path) -> str:
    """The launcher that holds a folder: its process, host and start."""
    owner = files.owner_of(folder, LAUNCHER_LOCK)
    return "" if owner is None else f"{owner['process']} {owner['host']} {owner['since']}"


def _remove_empty(folders: Sequence[Path]) -> None:
    """Removes folders, the innermost first, as far as they are empty."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
