"""The command ``alexnet``, also as ``python -m alexnet``: quiet from the first moment."""

import os
import signal
import sys
from typing import NoReturn


def main() -> int:
    """Runs the command. Ctrl-C ends it with a line, also while it is still being imported."""
    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if default:  # an exception in the middle of an import may be taken for a failed import
        signal.signal(signal.SIGINT, _quit)
    from alexnet.cli import main as command

    if default:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return command()


def _quit(number: int, frame: object) -> NoReturn:
    try:
        os.write(2, b"alexnet: interrupted\n")
    finally:
        os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
