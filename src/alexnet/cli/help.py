"""What a command takes, read from its dataclass, and the page that says so: grouped, with types and real defaults."""

import ast
import dataclasses
import functools
import inspect
import itertools
import shutil
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional

GROUPS = {  # titles in the order of the page, and the fields that belong there; others are plain options
    "data and augmentation": (
        *("input_scale", "crop_size", "crop_position", "crop_scale", "crop_margin", "flip", "crop_group", "shuffle"),
        *("color_noise", "color_noise_by", "color_noise_divisor", "color_noise_until", "label_smoothing"),
    ),
    "optimizer": (
        *("optimizer", "batch_size", "grad_accumulation", "init", "learning_rate", "bias_lr", "layer_lr"),
        *("momentum", "weight_decay", "layer_weight_decay", "freeze", "pretrained_lr_factor"),
    ),
    "schedule": (
        *("schedule", "warmup_epochs", "milestones", "plateau_patience", "plateau_drops", "stages", "final_lr"),
        "bias_schedule",
    ),
    "checkpoints": ("validate_every", "keep_every", "keep", "checkpoint"),
    "input and output": (
        *("output", "csv", "per_class", "confusion", "predictions", "calibration", "curve", "picture", "compare_codes"),
        *("url", "mean", "log", "json", "quiet"),
    ),
    "hardware": ("device", "precision", "threads", "workers"),
}
TURNED_OFF = {"flip": "Do not flip crops left to right (paper 4.1 flips every second one)."}  # of flags that are on
METAVARS = {  # of a recipe's fields that are text
    "net": "NET",
    "freeze": "LAYER",
    "layer_lr": "LAYER@EPOCH=LR,...",
    "layer_weight_decay": "LAYER=DECAY,...",
}
WIDEST, INDENT = 100, 26  # columns


@dataclasses.dataclass(frozen=True)
class Option:
    """One option or argument of a command.

    Attributes:
        field: of the dataclass.
        names: on the command line; of an argument, what stands for it: ``RUN``.
        kind: type of its value, or of one of several.
        value: what stands for its value, empty for a flag.
        several: whether it takes several values, with commas.
        choices: where it takes only these.
        positional: whether it is an argument.
        default: what holds where it is not given.
        text: what it does.
    """

    field: str
    names: tuple[str, ...]
    kind: Any
    value: str
    several: bool
    choices: tuple[str, ...]
    positional: bool
    default: object
    text: str

    @property
    def group(self) -> str:
        """The title that it stands under."""
        if self.positional:
            return "arguments"
        return next((title for title, fields in GROUPS.items() if self.field in fields), "options")

    @property
    def shown_default(self) -> str:
        """Its default in words; empty where its text says it, and for flags."""
        if self.default in (None, (), "") or isinstance(self.default, bool) or self.default is dataclasses.MISSING:
            return ""
        if isinstance(self.default, tuple):
            return f"(default: {','.join(map(_shown, self.default))})"
        return f"(default: {_shown(self.default)})"


def options_of(command: type, default: object = None) -> list[Option]:
    """What a command takes: its own options, those of classes that it extends, those of fields that are dataclasses.

    Args:
        command: a dataclass.
        default: an instance of it whose values are the defaults; the class's own if not given.
    """
    hints, texts = typing.get_type_hints(command, include_extras=True), field_texts(command)
    own, inherited, nested = [], [], []
    for field in dataclasses.fields(command):
        value = getattr(default, field.name, tyro.MISSING)
        value = field.default if value is tyro.MISSING else value
        kind, notes = _parts(hints[field.name])
        if dataclasses.is_dataclass(kind):
            nested += options_of(typing.cast(type, kind), None if value is dataclasses.MISSING else value)
        else:
            options = own if field.name in command.__annotations__ else inherited
            options.append(_option(field.name, kind, notes, value, texts[field.name]))
    return own + inherited + nested


def _option(field: str, kind: Any, notes: list[Any], default: object, text: str) -> Option:
    positional = Positional in notes
    name = next((note.name for note in notes if getattr(note, "name", None)), field.replace("_", "-"))
    metavar = next((note.metavar for note in notes if getattr(note, "metavar", None)), METAVARS.get(field))
    several, choices = typing.get_origin(kind) is tuple, ()
    kind = typing.get_args(kind)[0] if several else kind
    if kind is bool:
        metavar = ""
        if default is True:
            name, text = f"no-{name}", TURNED_OFF[field]
    elif typing.get_origin(kind) is Literal:
        choices = tuple(map(str, typing.get_args(kind)))
        metavar = f"{{{','.join(choices)}}}"
    elif metavar is None:
        single = {int: "N", float: "X"}.get(kind, "NAME")
        metavar = f"{single},..." if several else single
    aliases = tuple(alias for note in notes for alias in getattr(note, "aliases", None) or ())
    names = (metavar,) if positional else (f"--{name}", *aliases)
    return Option(field, names, kind, metavar, several, choices, positional, default, text)


def _parts(annotation: Any) -> tuple[Any, list[Any]]:
    """A type without ``None`` and notes, and the notes that stood around it, however deep."""
    notes: list[Any] = []
    while True:
        if typing.get_origin(annotation) is Annotated:
            notes += annotation.__metadata__
            annotation = annotation.__origin__
        elif typing.get_origin(annotation) in (types.UnionType, typing.Union):
            annotation = next(kind for kind in typing.get_args(annotation) if kind is not type(None))
        else:
            return annotation, notes


def page(name: str, command: type, default: object = None) -> str:
    """The help page of a command; ``default`` as for ``options_of``."""
    width = min(WIDEST, shutil.get_terminal_size().columns)
    options = options_of(command, default)
    words = [option.value if option.default is dataclasses.MISSING else f"[{option.value}]" for option in options
             if option.positional]  # fmt: skip
    usage = f"usage: alexnet {' '.join([name, *words])} [OPTIONS]"
    lines = [*textwrap.wrap(usage, width, subsequent_indent="    "), "", *textwrap.wrap(about(command), width)]
    for title in ("arguments", "options", *GROUPS):
        rows = [(_invocation(option), f"{option.text} {option.shown_default}") for option in options
                if option.group == title]  # fmt: skip
        if title == "options":
            rows.append(("-h, --help", "Show this page."))
        if rows:
            lines += ["", f"{title}:", *(line for row in rows for line in _columns(*row, width))]
    return "\n".join(lines)


def _invocation(option: Option) -> str:
    return option.value if option.positional else f"{', '.join(option.names)} {option.value}".rstrip()


def _columns(left: str, right: str, width: int) -> Iterator[str]:
    """An option and its text beside it, or below where it is long."""
    indent = min(INDENT, max(8, width // 3))
    lines = textwrap.wrap(right, max(16, width - indent), break_long_words=False, break_on_hyphens=False)
    if len(left) + 4 > indent:
        yield f"  {left}"
    else:
        yield f"  {left:<{indent - 2}}{lines.pop(0)}"
    for line in lines:
        yield " " * indent + line


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def about(described: Callable[..., Any]) -> str:
    """What a class or function says of itself, from the source: Python may have been told to leave docstrings out."""
    if sys.flags.optimize < 2:
        return inspect.getdoc(described) or ""
    return ast.get_docstring(_definitions(described.__module__)[described.__name__]) or ""


def field_texts(described: type) -> dict[str, str]:
    """The docstring under each field of a dataclass, on one line; those of the classes that it extends, too."""
    texts = {}
    for owner in reversed(described.__mro__[:-1]):
        body = _definitions(owner.__module__)[owner.__name__].body
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                texts[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return texts


@functools.cache
def _definitions(module: str) -> dict[str, Any]:
    syntax = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in syntax.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
