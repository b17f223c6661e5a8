"""From words to a command: tyro reads the options; what is wrong with them becomes a line."""

import ast
import contextlib
import functools
import inspect
import io
import sys
from collections.abc import Callable
from typing import Any

import tyro
from tyro.conf import FlagCreatePairsOff

from alexnet.cli.data import Download, Info, Prepare, Verify
from alexnet.cli.diagnostics import Bench, Doctor
from alexnet.cli.experiments import Demo
from alexnet.cli.interchange import Export, Import
from alexnet.cli.nets import Summary
from alexnet.cli.train import Train
from alexnet.cli.use import Evaluate, Predict, Show
from alexnet.errors import UsageError
from alexnet.training.recipes import named

COMMANDS: dict[str, Callable[..., Any]] = {
    "prepare": Prepare,
    "download": Download,
    "verify": Verify,
    "info": Info,
    "summary": Summary,
    "train": Train,
    "evaluate": Evaluate,
    "predict": Predict,
    "show": Show,
    "import": Import,
    "export": Export,
    "bench": Bench,
    "doctor": Doctor,
    "demo": Demo,
}


def parse(name: str, rest: list[str]) -> Callable[[], int]:
    """The command with its options; tyro's boxes on wrong ones become a line."""
    options: dict[str, Any] = {"args": rest, "prog": f"alexnet {name}", "config": (FlagCreatePairsOff,)}
    options["description"] = about(COMMANDS[name])
    if name == "train":
        options["default"] = Train(tyro.MISSING, tyro.MISSING, named(_option(rest, "--recipe") or "default"))
    if "-h" in rest or "--help" in rest:
        return tyro.cli(COMMANDS[name], **options)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(COMMANDS[name], **options)
    except SystemExit:
        raise UsageError(f"alexnet {name}: {_one_line(said.getvalue())}; see alexnet {name} --help") from None


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
    return " ".join(lines).rstrip(".")


def _option(arguments: list[str], name: str) -> str | None:
    """The value of an option that must be known before the others are read."""
    for i, argument in enumerate(arguments):
        if argument.startswith(name + "="):
            return argument.partition("=")[2]
        if argument == name and i + 1 < len(arguments):
            return arguments[i + 1]
    return None


def overview() -> str:
    lines = ["usage: alexnet COMMAND ...", "", "AlexNet (Krizhevsky, Sutskever, Hinton, 2012), whole.", ""]
    for name, command in COMMANDS.items():
        lines.append(f"  {name:<10} {about(command).splitlines()[0]}")
    return "\n".join([*lines, "", "alexnet COMMAND --help says what a command takes."])


def about(command: Callable[..., Any]) -> str:
    """What a command says of itself; read from the source where Python was told to leave docstrings out (-OO)."""
    if sys.flags.optimize < 2:
        return inspect.getdoc(command) or ""
    classes = {node.name: node for node in _syntax(command.__module__).body if isinstance(node, ast.ClassDef)}
    return ast.get_docstring(classes[command.__name__]) or ""


@functools.cache
def _syntax(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(sys.modules[module]))
