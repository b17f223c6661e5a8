"""Nothing that only POSIX has: what is run on Windows and macOS is read here, since neither is at hand.

Untested on Windows, macOS and ARM themselves: docs/platforms.md says so.
"""

import ast
import os
import re
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
# Of the standard library: modules that Windows lacks, and names that it lacks in those that it has.
MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog", "crypt", "nis", "spwd"}
NAMES = {
    "os": {"fork", "forkpty", "getuid", "geteuid", "chown", "mkfifo", "mknod", "nice", "getloadavg", "sysconf",
           "sched_getaffinity", "sched_setaffinity", "uname", "killpg", "setsid", "posix_fadvise", "sendfile", "pread",
           "statvfs"},
    "signal": {"SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "alarm", "setitimer", "pause", "SIGSTOP"},
    "mmap": {"MAP_SHARED", "MAP_PRIVATE", "PROT_READ"},
    "multiprocessing": {"get_context", "set_start_method", "fork"},
    "time": {"tzset"},
}  # fmt: skip


def guarded(tree: ast.AST, name: str) -> bool:
    """Whether the module asks for the name with ``hasattr`` before it uses it."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "hasattr"
        and isinstance(node.args[1], ast.Constant)
        and node.args[1].value == name
        for node in ast.walk(tree)
    )


def _unguarded(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that are tried, with a way to go on where the import fails."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Try) and any("ImportError" in ast.dump(each) for each in node.handlers):
            continue
        yield node
        yield from _unguarded(node)


def found_in(text: str) -> list[str]:
    """What a module's text uses of POSIX alone, and does not do without where it is missing."""
    tree = ast.parse(text)
    found = []
    for node in _unguarded(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
            found += [name for name in names if name.split(".")[0] in MODULES]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            of = node.value.id
            if node.attr in NAMES.get(of, ()) and not guarded(tree, node.attr):
                found.append(f"{of}.{node.attr}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_call_that_only_posix_has(path):
    assert found_in(path.read_text(encoding="utf-8")) == []


def test_the_search_finds_what_it_is_for():
    assert found_in("import fcntl\nimport os\nos.fork()\nsignal.alarm(1)") == ["fcntl", "os.fork", "signal.alarm"]
    assert found_in("import os\nif hasattr(os, 'nice'):\n    os.nice(1)") == []
    assert found_in("try:\n    import fcntl\nexcept ImportError:\n    fcntl = None") == []
    assert found_in("try:\n    import fcntl\nexcept OSError:\n    pass") == ["fcntl"]
    assert all(hasattr(os, name) for name in ("replace", "fsync", "cpu_count")) and signal.SIGTERM


def test_text_files_are_opened_in_utf_8():
    """Windows' own encoding is another one."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            keywords = {each.arg: each.value for each in node.keywords}
            if name in ("read_text", "write_text"):
                assert "encoding" in keywords, f"{path}:{node.lineno}"
            if name == "open" and isinstance(node.func, ast.Name):
                mode = node.args[1] if len(node.args) > 1 else keywords.get("mode")
                binary = (isinstance(mode, ast.Constant) and "b" in str(mode.value)) or isinstance(mode, ast.IfExp)
                assert binary or "encoding" in keywords, f"{path}:{node.lineno}"


def test_no_two_files_whose_names_differ_in_case_alone():
    names = [str(path.relative_to(ROOT)) for path in (ROOT / "src").rglob("*") if "__pycache__" not in path.parts]
    assert len({name.lower() for name in names}) == len(names)
    assert not any(re.search(r'[<>:"|?*\\]', name) for name in names)


def test_the_default_install_has_no_compiler_and_no_cuda_in_it():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {re.split(r"[><=;\[ ]", each)[0] for each in told["project"]["dependencies"]}
    assert needed == {
        *("torch", "numpy", "pillow", "simplejpeg", "pyarrow", "safetensors", "tyro", "rich", "matplotlib", "fsspec")
    }  # each has wheels for every platform: docs/raw/wheels.json
    assert "torch>=2.9" in told["project"]["dependencies"]
