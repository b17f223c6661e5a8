"""From words to a command: tyro reads the options; what is wrong with them becomes a line."""

import contextlib
import dataclasses
import io
import itertools
import re
import typing
from collections.abc import Callable
from typing import Any

import tyro
from tyro.conf import FlagCreatePairsOff, Positional
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from alexnet import files
from alexnet.cli.commands import COMMANDS, command_class
from alexnet.cli.help import Option, options_of, page
from alexnet.errors import UsageError
from alexnet.files import mistakes
from alexnet.files.old_names import OPTIONS, VALUES


def parse(name: str, arguments: list[str]) -> Callable[[], int]:
    """The command with its options.

    Raises:
        UsageError: what is given is no command; tyro's boxes on wrong options become a line.
    """
    command, default = command_class(name), default_of(name, arguments)
    options = options_of(command, default)
    _check_names(name, options, arguments)
    arguments = _joined(options, arguments)
    _check_arguments(name, options, arguments)
    said = io.StringIO()
    start: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(said), _commas():
            return tyro.cli(command, args=arguments, prog=f"alexnet {name}", config=(FlagCreatePairsOff,), **start)
    except SystemExit:
        wrong = _wrong_value(options, arguments) or _one_line(said.getvalue()) + _comma_hint(options, arguments)
        raise UsageError(f"alexnet {name}: {wrong}; see alexnet {name} --help") from None


def default_of(name: str, arguments: list[str]) -> Any:
    """What the options' defaults are: of ``train`` those of the recipe that is named; else None, the class's own."""
    if name != "train":
        return None
    from alexnet.cli.train import Train
    from alexnet.training.recipes import named

    return Train(tyro.MISSING, tyro.MISSING, named(_value_of("--recipe", arguments) or "default"))


def before_dashes(arguments: list[str]) -> list[str]:
    """The words before a ``--``, after which all are arguments."""
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _value_of(option: str, arguments: list[str]) -> str | None:
    """The value of an option that must be known before the others are read."""
    words = before_dashes(arguments)
    for i, word in enumerate(words):
        if word.startswith(option + "="):
            return word.partition("=")[2]
        if word == option and i + 1 < len(words):
            return words[i + 1]
    return None


def _check_names(name: str, options: list[Option], arguments: list[str]) -> None:
    """Raises ``UsageError`` for an option that is unknown, or has another name today, or whose value has."""
    known = {spelled: option for option in options if not option.positional for spelled in option.names}
    given = before_dashes(arguments)
    for i, word in enumerate(given):
        spelled = word.partition("=")[0].replace("_", "-")
        if not re.fullmatch("--[a-z].*", spelled):
            continue
        if spelled not in known:
            if OPTIONS.get(spelled) in known:
                raise UsageError(f"{spelled}: is now {OPTIONS[spelled]}")
            near = files.nearest(spelled, known)
            raise UsageError(f"alexnet {name}: {spelled}: no such option; {near}see alexnet {name} --help")
        value = word.partition("=")[2] if "=" in word else next(iter(given[i + 1 :]), "")
        new = VALUES.get(known[spelled].field, {}).get(value)
        if new and value not in known[spelled].choices:
            raise UsageError(f"{spelled} {value}: is now {new}")


def _places(options: list[Option], arguments: list[str]) -> list[int]:
    """Where among the words the arguments are: what is no option, and no option's value."""
    takes_value = {
        spelled: bool(option.value) for option in options if not option.positional for spelled in option.names
    }
    places, end, value = [], len(before_dashes(arguments)), False
    for place, word in enumerate(arguments):
        if place > end or not (value or word.startswith("-") or place == end):
            places.append(place)
        value = place < end and not value and takes_value.get(word.replace("_", "-"), False)
    return places


def _joined(options: list[Option], arguments: list[str]) -> list[str]:
    """The words, with what stands behind an option of several values as its values, where no argument is left for it.

    ``--layer fc7 conv5`` becomes ``--layer fc7,conv5``, but only of a command that takes a number of arguments.
    """
    wanted = [word for option in options if option.positional for word in option.value.split()]
    if any("..." in word for word in wanted):
        return arguments
    several = {spelled for option in options if option.several for spelled in option.names}
    words, places, taken = list(arguments), _places(options, arguments), set[int]()
    for index, word in enumerate(before_dashes(arguments)):
        if word in several:
            behind = itertools.takewhile(lambda at: at in places, range(index + 2, len(arguments)))
            own = list(behind)[: max(0, len(places) - len(wanted) - len(taken))]
            if own:
                words[index + 1] = ",".join(arguments[at] for at in (index + 1, *own))
                taken.update(own)
    return [word for index, word in enumerate(words) if index not in taken]


def _check_arguments(name: str, options: list[Option], arguments: list[str]) -> None:
    """Raises ``UsageError`` where arguments are missing, too many or empty, or an option's value is empty."""
    wanted = [word for option in options if option.positional for word in option.value.split()]
    needed = [word for option in options if option.positional and option.default is dataclasses.MISSING
              for word in option.value.split()]  # fmt: skip
    places, form = _places(options, arguments), " ".join(["alexnet", name, *wanted])
    for place, metavar in itertools.zip_longest(places, wanted, fillvalue=wanted[-1] if wanted else ""):
        if isinstance(place, int) and wanted and not arguments[place].strip():
            raise UsageError(f"alexnet {name}: {metavar.rstrip('.')}: the name is empty; give {form}")
    for word, following in itertools.pairwise(before_dashes(arguments)):
        if word.startswith("--") and not following.strip():
            raise UsageError(f"alexnet {name}: {word}: its value is empty; give one, or leave {word} out")
    for word in before_dashes(arguments):
        if re.fullmatch(r"--[a-z][a-z_-]*=\s*", word):
            raise UsageError(f"alexnet {name}: {word} its value is empty; give one, or leave {word[:-1]} out")
    given = [arguments[place] for place in places]
    if len(given) < len(needed) and "RUN..." not in needed:  # which of these is missing, `evaluate` says
        lacking = " and ".join(needed[len(given) :])
        raise UsageError(
            f"{mistakes.quoted('alexnet', name, *given)}: give {lacking} ({form}); see alexnet {name} --help"
        )
    if len(given) > len(wanted) and not any("..." in word for word in wanted):
        more = " ".join(given[len(wanted) :])
        hint = _comma_hint(options, arguments)
        raise UsageError(f"alexnet {name}: {more}: more than it takes{hint}; give {form}; see alexnet {name} --help")


def in_order(error: UsageError, given: list[str]) -> str:
    """What to say of a mistake; of swapped arguments with the command line that was meant, options and all."""
    if not isinstance(error, mistakes.Swapped):
        return str(error)
    places = _places(options_of(command_class(given[0])), given[1:])
    return error.told(given, [place + 1 for place in places])


def _wrong_value(options: list[Option], arguments: list[str]) -> str | None:
    """What is wrong with the first value that its option does not take; None where it is something else."""
    known = {spelled: option for option in options if not option.positional for spelled in option.names}
    given = before_dashes(arguments)
    for word, following in itertools.zip_longest(given, given[1:], fillvalue=""):
        spelled, equals, value = word.partition("=")
        option = known.get(spelled.replace("_", "-"))
        if option is None or not option.value:
            continue
        value = value if equals else following
        if option.choices and value not in option.choices:
            return f"{spelled} {value}: give one of {', '.join(option.choices)}"
        for single in value.split(",") if option.several else [value]:
            if (number := {int: "a whole number", float: "a number"}.get(option.kind)) and not _is(option.kind, single):
                what = number.removeprefix("a ") + "s, with commas" if option.several else number
                return f"{spelled} {value}: must be {what}"
    return None


def _is(kind: type, text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _comma_hint(options: list[Option], arguments: list[str]) -> str:
    """What to say where an option of several values was given them with blanks between."""
    several = {spelled: option for option in options if option.several for spelled in option.names}
    for i, word in enumerate(arguments):
        values = list(itertools.takewhile(lambda value: not value.startswith("--"), arguments[i + 1 :]))
        if word in several and len(values) > 1:
            return f"; {word} takes several values: give them with commas ({word} {','.join(values)})"
    return ""


def _commas() -> ConstructorRegistry:
    """Rules for tyro: options of several values take one word with commas, so that they swallow nothing."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def several(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
        if info.type_origin is not tuple or Positional in info.markers:
            return None
        kind = typing.get_args(info.type)[0]
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="A,B,...",
            instance_from_str=lambda words: tuple(kind(value) for value in words[0].split(",") if value.strip()),
            is_instance=lambda value: isinstance(value, tuple),
            str_from_instance=lambda values: [",".join(map(str, values))],
        )

    return registry


def _one_line(box: str) -> str:
    """What tyro writes in a box (of Unicode or plain characters) about a wrong option, as a line."""
    lines = []
    for line in box.splitlines()[1:]:
        inner = line.strip("│|\n").removeprefix(" ")
        text = inner.strip(" ─-╭╮╰╯+|")
        if not text and lines:
            break
        if text and not inner.startswith(8 * " "):  # that deep are the help texts of missing arguments
            lines.append(text if inner.strip().endswith(text) else inner.strip())
    return re.sub(r"^Error parsing \w+: ", "", " ".join(lines).rstrip("."))


def command_of(name: str) -> str:
    """A command's name. Raises ``UsageError`` where there is none of it, with one that is near."""
    if name not in COMMANDS:
        near = files.nearest(name, COMMANDS)
        raise UsageError(f"alexnet {name}: no such command; {near}give one of {', '.join(COMMANDS)}")
    return name


def help_page(name: str, arguments: list[str]) -> str:
    """What ``alexnet COMMAND --help`` prints; with ``--recipe``, its values are the defaults."""
    return page(name, command_class(name), default_of(name, arguments))
