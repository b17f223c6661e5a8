"""The commands: each is a dataclass whose fields are its options, and calls one function of the API."""

import sys
from collections.abc import Sequence

from alexnet.cli.commands import COMMANDS as COMMANDS
from alexnet.cli.commands import command_class as command_class
from alexnet.cli.commands import overview
from alexnet.cli.streams import exhausted, fail, open_streams, operating_system
from alexnet.errors import AlexNetError, Interrupted, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns 0 done, 1 failed, 2 wrong use, 130 interrupted after saving."""
    open_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            status = _run(given)
        finally:
            sys.stdout.flush()  # a full disk is noticed here, not when nobody can say so any more
    except UsageError as error:
        from alexnet.cli.parse import in_order

        return fail(in_order(error, given), 2)
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
    if not given or given[0] in ("-h", "--help") or given == ["help"]:
        return _print(overview(), 0 if given else 2)
    if given[0] in ("-V", "--version", "version"):
        from importlib.metadata import version

        return _print(f"alexnet {version('alexnet')}")
    from alexnet.cli.parse import before_dashes, command_of, help_page, parse

    if given[0] == "help":
        return _print(help_page(command_of(given[1]), given[2:]))
    name, arguments = command_of(given[0]), given[1:]
    if {"-h", "--help"} & set(before_dashes(arguments)):
        return _print(help_page(name, arguments))
    command = parse(name, arguments)
    import logging

    from alexnet.progress import set_quiet

    logging.getLogger("matplotlib").addHandler(logging.NullHandler())  # its cache and its fonts are no user's concern
    set_quiet(getattr(command, "quiet", False))
    return command()


def _print(text: str, status: int = 0) -> int:
    sys.stdout.write(text + "\n")
    return status
