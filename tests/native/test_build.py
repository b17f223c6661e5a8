"""The library's file: compiled once however many ask, kept where only this user writes, never loaded unless whole."""

import atexit
import functools
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from alexnet import native
from alexnet.native import build

pytestmark = [
    pytest.mark.skipif(not native.available(), reason=native.status().words),
]

CODE = "from alexnet import native; s = native.status(); print(s.path); print(s.words)"
# A process that has imported what takes seconds, and then is as many new ones as are asked for: a line of JSON each.
MANY = """
import json, os, sys, tempfile
from alexnet import native
from alexnet.native import library
for line in sys.stdin:
    asked = json.loads(line)
    back, there = os.pipe()
    if os.fork() == 0:
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.umask(asked["umask"])
        tempfile.tempdir = None
        status = native.status()
        os.write(there, json.dumps([str(status.path), status.words]).encode())
        os.close(there)
        sys.exit()
    os.close(there)
    answer = b""
    while part := os.read(back, 4096):
        answer += part
    os.close(back)
    os.wait()
    print(answer.decode(), flush=True)
"""


@functools.cache
def objects() -> Path:
    """Where objects are kept that were compiled already: the same sources by the same options give the same."""
    folder = Path(tempfile.mkdtemp(prefix="alexnet-objects-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def compiler(folder: Path, more: str = ":") -> Path:
    """A C compiler that notes each compilation, and does each once."""
    script = folder / "cc"
    script.write_text(f"""#!/bin/sh
case "$*" in *-c*) echo "$$" >>"{folder}/compiled"; {more}
    kept="{objects()}/$(echo "$*" | cksum | tr ' ' -)"
    if [ ! -d "$kept" ]; then
        {build.find_compiler()} "$@" || exit
        mkdir "$kept.$$" && cp *.o "$kept.$$" && mv "$kept.$$" "$kept"
    fi
    cp "$kept"/*.o .
    exit;;
esac
exec {build.find_compiler()} "$@"
""")
    script.chmod(0o755)
    return script


def compilations(folder: Path) -> int:
    noted = folder / "compiled"
    return len(noted.read_text().splitlines()) if noted.exists() else 0


def environment(tmp_path: Path, **variables: str) -> dict[str, str]:
    """That of a process with nothing but a compiler and a cache."""
    kept = {name: os.environ[name] for name in ("PYTHONPATH", "LD_PRELOAD", "ASAN_OPTIONS") if name in os.environ}
    own = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path / "tmp"),
        "ALEXNET_NATIVE_FLAGS": "-O0",
    }
    (tmp_path / "tmp").mkdir(exist_ok=True)
    return {**kept, **own, "CC": str(compiler(tmp_path)), **variables}


@functools.cache
def imported() -> subprocess.Popen[str]:
    """The process that new ones are made of."""
    process = subprocess.Popen([sys.executable, "-c", MANY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(process.kill)
    return process


def asked(tmp_path: Path, umask: int = 0o022, **variables: str) -> tuple[str, str]:
    """What a new process says of its library: path and words."""
    process = imported()
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps({"environment": environment(tmp_path, **variables), "umask": umask}) + "\n")
    process.stdin.flush()
    path, words = json.loads(process.stdout.readline())
    return path, words


@pytest.fixture
def recipe(tmp_path, monkeypatch) -> build.Recipe:
    """Of a library that takes a moment to compile."""
    monkeypatch.setenv(build.MORE_FLAGS, "-O0")
    return build.Recipe(str(compiler(tmp_path)), build.find_openmp())


def test_no_compiler_a_broken_one_and_none_wanted(tmp_path):
    assert asked(tmp_path, ALEXNET_KERNELS="portable") == ("None", "ALEXNET_KERNELS=portable")
    assert asked(tmp_path, CC="nothing", PATH=str(tmp_path)) == ("None", "no C compiler; install gcc or clang")
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'no such thing' >&2\nexit 1\n")
    broken.chmod(0o755)
    assert asked(tmp_path, CC=str(broken)) == ("None", f"{broken} failed: no such thing")
    broken.write_text("no script")
    assert asked(tmp_path, CC=str(broken)) == ("None", f"{broken} does not run: Exec format error")
    assert asked(tmp_path, ALEXNET_NATIVE_FLAGS="'") == ("None", "ALEXNET_NATIVE_FLAGS: No closing quotation")


def test_modes_are_this_users_whatever_the_umask(tmp_path):
    path, words = asked(tmp_path, umask=0, XDG_CACHE_HOME=str(tmp_path / "new" / "cache"))
    library = Path(path)
    assert library.parent == tmp_path / "new" / "cache" / "alexnet" and words == str(tmp_path / "cc")
    modes = {entry.suffix: stat.S_IMODE(entry.stat().st_mode) for entry in library.parent.iterdir()}
    assert modes == {".so": 0o700, ".sha256": 0o600, ".lock": 0o600}
    assert stat.S_IMODE(library.parent.stat().st_mode) == stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@pytest.mark.parametrize("harm", ["empty", "cut short", "a bit turned", "written by others", "no hash", "link"])
def test_a_library_that_is_not_whole_is_compiled_again_once(tmp_path, recipe, harm):
    folder = tmp_path / "cache"
    library = build.library_in(folder, recipe)
    whole = library.read_bytes()
    assert compilations(tmp_path) == 1 and build.library_in(folder, recipe) == library
    assert compilations(tmp_path) == 1
    if harm == "empty":
        library.write_bytes(b"")
    elif harm == "cut short":
        library.write_bytes(whole[: len(whole) // 2])
    elif harm == "a bit turned":
        library.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    elif harm == "written by others":
        library.chmod(0o777)
    elif harm == "no hash":
        library.with_suffix(".sha256").unlink()
    else:
        library.rename(tmp_path / "elsewhere.so")
        library.symlink_to(tmp_path / "elsewhere.so")
    assert build.library_in(folder, recipe) == library and compilations(tmp_path) == 2
    assert build.is_whole(library, recipe.key) and build.library_in(folder, recipe) == library
    assert compilations(tmp_path) == 2


def test_another_library_under_its_name_is_not_loaded_even_with_its_hash(tmp_path, recipe, monkeypatch):
    folder = tmp_path / "cache"
    library = build.library_in(folder, recipe)
    monkeypatch.setenv(build.MORE_FLAGS, "-O0 -DALEXNET_NO_MEMORY")
    other = build.library_in(folder, build.Recipe(recipe.compiler, recipe.openmp))
    assert other != library and compilations(tmp_path) == 2
    for suffix in (".so", ".sha256"):
        os.replace(other.with_suffix(suffix), library.with_suffix(suffix))
    assert not build.is_whole(library, recipe.key)
    build.library_in(folder, recipe)
    assert compilations(tmp_path) == 3 and build.is_whole(library, recipe.key)


@pytest.mark.parametrize("mode", [0o777, 0o722])
def test_a_folder_that_others_may_write_is_not_used(tmp_path, mode):
    folder = tmp_path / "alexnet"
    folder.mkdir()
    folder.chmod(mode)
    path, words = asked(tmp_path, XDG_CACHE_HOME=str(tmp_path))
    assert Path(path).parent == tmp_path / "tmp" / f"alexnet-{os.getuid()}"
    assert words.endswith(f"; not kept in {folder}: others may write to it") and not list(folder.iterdir())
    assert stat.S_IMODE(folder.stat().st_mode) == mode


def test_no_folder_of_ones_own_is_said_by_its_name_and_another_taken(tmp_path):
    (tmp_path / "file").write_text("")
    path, words = asked(tmp_path, HOME=str(tmp_path / "file"))
    assert Path(path).parent == tmp_path / "tmp" / f"alexnet-{os.getuid()}"
    assert f"not kept in {tmp_path}/file/.cache/alexnet: " in words and "failed" not in words
    squatted = tmp_path / "tmp" / f"alexnet-{os.getuid()}"
    Path(path).parent.rename(tmp_path / "moved")
    squatted.symlink_to(tmp_path / "moved")  # as anybody could in /tmp
    path, words = asked(tmp_path, HOME="/proc/nothing")
    assert Path(path).parent.parent == tmp_path / "tmp" and Path(path).parent != squatted
    assert "/proc/nothing/.cache/alexnet: " in words and f"{squatted}: is no folder" in words
    assert not Path(path).exists()  # one for that process alone, which has ended
    path, _ = asked(tmp_path, HOME="", XDG_CACHE_HOME="not/absolute")
    assert Path(path).is_absolute()


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives folders away")
def test_a_folder_of_another_user_is_not_used(tmp_path):
    (tmp_path / "alexnet").mkdir(mode=0o700)
    os.chown(tmp_path / "alexnet", 12345, -1)
    with pytest.raises(build.Refused, match="alexnet: belongs to another user"):
        build.make_private(tmp_path / "alexnet")


def test_four_threads_and_four_processes_compile_once(tmp_path, recipe):
    compiler(tmp_path, "sleep 0.3")
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(build.library_in(tmp_path / "cache", recipe))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 4 and len(set(paths)) == 1 and compilations(tmp_path) == 1
    own = environment(tmp_path, XDG_CACHE_HOME=str(tmp_path / "other"))
    compiler(tmp_path, "sleep 3")
    processes = [subprocess.Popen([sys.executable, "-c", CODE], env=own) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert compilations(tmp_path) == 2


def test_who_died_compiling_blocks_nobody_and_who_takes_too_long_neither(tmp_path, recipe, monkeypatch):
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); "
         "print('held', flush=True); time.sleep(60)", str(tmp_path / f"native-{recipe.key}.lock")],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    tmp_path.chmod(0o700)
    threading.Timer(0.3, holder.kill).start()
    begun = time.monotonic()
    library = build.library_in(tmp_path, recipe)
    assert compilations(tmp_path) == 1 and time.monotonic() - begun < 30
    holder.wait()
    library.unlink()
    monkeypatch.setattr(build, "BUILD_SECONDS", 0)
    with build._locked(library.with_suffix(".lock")):
        monkeypatch.setattr(build.subprocess, "run", lambda *_, **__: pytest.fail("compiled though it is there"))
        library.touch()
        with build._locked(library.with_suffix(".lock")):  # held by the block around: not waited for
            pass


def test_a_folder_that_ones_own_group_may_write_is_made_private(tmp_path):
    """An earlier version made it with the umask, which on some systems lets a user's own group write."""
    folder = tmp_path / "alexnet"
    folder.mkdir()
    folder.chmod(0o775)
    path, words = asked(tmp_path, XDG_CACHE_HOME=str(tmp_path))
    assert Path(path).parent == folder and "not kept" not in words
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
