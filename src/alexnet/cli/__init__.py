"""The commands: each is a dataclass whose fields are its options, and calls one function of the API."""

import logging
import sys
from collections.abc import Sequence

from alexnet.cli.parse import COMMANDS as COMMANDS
from alexnet.cli.parse import overview, parse
from alexnet.cli.streams import exhausted, fail, open_streams, operating_system, say
from alexnet.errors import AlexNetError, Interrupted, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns 0 done, 1 failed, 2 wrong use, 130 interrupted after saving."""
    open_streams()
    logging.getLogger("matplotlib").addHandler(logging.NullHandler())  # its cache and its fonts are no user's concern
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            status = _run(given)
        finally:
            sys.stdout.flush()  # a full disk is noticed here, not when nobody can say so any more
    except UsageError as error:
        return fail(error, 2)
    except Interrupted as error:
        return fail(error, 130)
    except AlexNetError as error:
        return fail(error, 1)
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    except BrokenPipeError:
        return fail(None, 1)
    except OSError as error:
        return fail(operating_system(error), 1)
    except (MemoryError, RecursionError, RuntimeError, UnicodeError) as error:
        words = exhausted(error)
        if words is None:
            raise
        return fail(words, 1)
    return status


def _run(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help"):
        sys.stdout.write(overview() + "\n")
        return 0 if given else 2
    if given[0] == "--version":
        from importlib.metadata import version

        say(f"alexnet {version('alexnet')}")
        return 0
    name, rest = given[0], given[1:]
    if name not in COMMANDS:
        raise UsageError(f"alexnet {name}: no such command; give one of {', '.join(COMMANDS)}")
    return parse(name, rest)()
