"""The command ``alexnet``, also as ``python -m alexnet``: quiet from the first moment."""

import atexit
import os
import signal
import sys
import threading
from typing import NoReturn


def main() -> int:
    """Runs the command. Ctrl-C ends it with a line, also while it is still being imported."""
    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if default:  # an exception in the middle of an import may be taken for a failed import
        signal.signal(signal.SIGINT, _quit)
    from alexnet.cli import main as command

    if default:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    status = command()
    _leave(status)
    return status


def _leave(status: int) -> None:
    """Ends a process that has imported torch, whose taking apart takes a third of a second and is of no use.

    What was registered for the end is done before. Where a thread may be at work still, Python ends as ever.
    """
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    if "torch" not in sys.modules or others or threading.current_thread() is not threading.main_thread():
        return
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _quit(number: int, frame: object) -> NoReturn:
    try:
        os.write(2, b"alexnet: interrupted\n")
    finally:
        os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
