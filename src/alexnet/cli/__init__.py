"""The commands: each is a dataclass whose fields are its options, and calls one function of the API."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from alexnet import ranks
from alexnet.cli.commands import COMMANDS as COMMANDS
from alexnet.cli.commands import command_class as command_class
from alexnet.cli.commands import overview
from alexnet.cli.streams import exhausted, fail, open_streams, operating_system, warn
from alexnet.errors import AlexNetError, Elsewhere, Interrupted, UsageError
from alexnet.ranks.launch import handlers_kept

ASKED = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))  # Windows has one
SHARED = ("train", "evaluate", "features", "bench")  # the commands that several processes of a job may share


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns 0 done, 1 failed, 2 wrong use, 130 interrupted after saving."""
    with handlers_kept():
        status = _status(arguments)
    if ranks.broken():  # everything is said and flushed
        os._exit(status)
    return status


def _status(arguments: Sequence[str] | None) -> int:
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
    except Elsewhere as error:
        return fail(None, error.status)
    except AlexNetError as error:
        return fail(error, 1)
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    except BrokenPipeError:
        return fail(None, 1)
    except OSError as error:
        return fail(operating_system(error), 1)
    except (MemoryError, RecursionError, RuntimeError, UnicodeError) as error:
        words = exhausted(error, _help_of(given))
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
    import logging

    from alexnet.progress import set_quiet

    logging.getLogger("matplotlib").addHandler(logging.NullHandler())  # its cache and its fonts are no user's concern
    if name not in SHARED or not ranks.under_torchrun():
        command = parse(name, arguments)
        set_quiet(getattr(command, "quiet", False))
        if getattr(command, "devices", None) is not None:
            return _launch(command, given)
        _end_as_by_ctrl_c()
        return command()
    with ranks.joined() as job, _heard_out():
        command = job.agree(lambda: _without_devices(parse(name, arguments), job.size))
        set_quiet(getattr(command, "quiet", False) or not job.first)
        with contextlib.ExitStack() as stack:
            if not job.first:  # one process speaks
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
            return command()


def _without_devices(command: Any, size: int) -> Any:
    """A command as a rank runs it. Raises ``UsageError`` where it asks for processes of its own."""
    devices = getattr(command, "devices", None)
    if devices is not None:
        raise UsageError(f"--devices {devices}: torchrun has started {size} processes already; leave it out")
    return command


@contextlib.contextmanager
def _heard_out() -> Iterator[None]:
    """After an error this process says why it ends, though torchrun asks it to end as soon as another one has."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise


def _end_as_by_ctrl_c() -> None:
    """From now on SIGTERM and SIGHUP interrupt a command as Ctrl-C does; another one of them does nothing more."""
    heard = [number for number in ASKED if signal.getsignal(number) == signal.SIG_DFL]  # nohup ignores SIGHUP

    def interrupt(number: int, frame: object) -> None:
        for other in heard:  # a terminal that is closed sends two, and `timeout` may
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in heard:
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(number, interrupt)


def _launch(command: Any, given: list[str]) -> int:
    """Runs the command once more, as several processes of this machine; it holds what they write until they end."""
    from alexnet import machine
    from alexnet.ranks.launch import devices_of, launch, without_devices

    count = devices_of(command.devices)
    with command.held():
        return launch(count, without_devices(given), machine.cores(), warn)


def _help_of(given: Sequence[str]) -> str:
    """A command's help; empty where there is none, or no memory for it."""
    from alexnet.cli.parse import command_of, help_page

    with contextlib.suppress(AlexNetError, MemoryError, IndexError):
        return help_page(command_of(given[0]), [])
    return ""


def _print(text: str, status: int = 0) -> int:
    sys.stdout.write(text + "\n")
    return status
