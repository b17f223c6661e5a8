"""The house stays as it was laid: a small root, no overgrown module or function, each decision in one place."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet import native

PACKAGE = Path(__file__).parent.parent / "src" / "alexnet"
ROOT = {"__init__.py", "__main__.py", "errors.py", "machine.py", "progress.py", "py.typed", "randomness.py"}
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES, MOST_STATEMENTS_LINES = 400, 50


def test_the_root_has_seven_files():
    assert {entry.name for entry in PACKAGE.iterdir() if entry.is_file()} == ROOT


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_or_function_is_overgrown(module):
    """Lines of a function without its signature and docstring."""
    text = module.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = node.end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= MOST_STATEMENTS_LINES, node.name


def where(text: str) -> set[str]:
    return {str(path.relative_to(PACKAGE)) for path in MODULES if text in path.read_text(encoding="utf-8")}


def test_each_decision_is_in_one_place():
    assert where(".backward()") == {
        "training/step.py",
        "diagnostics/plain_port.py",
        "search/codes.py",  # an auto-encoder of activations, which is no net of ours
    }
    assert where("import ctypes") == {"native/library.py"}
    assert where("def autocast(") == {"nets/precision.py"}
    assert where("def overhang") == {"native/window.py"}  # one geometry


def test_help_needs_no_torch():
    code = "import sys; from alexnet import cli; cli.main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.skipif(os.environ.get("ALEXNET_KERNELS") == "portable", reason="the portable path was asked for")
def test_there_is_a_compiled_path_wherever_there_is_a_compiler():
    """Without this, sources that do not compile would have all tests of theirs skipped."""
    if sys.platform.startswith("linux") and shutil.which(os.environ.get("CC", "cc")):
        assert native.available(), native.status().words
