"""The library's file: compiled once for this processor and compiler, kept in a folder of this user, checked, mended.

Code that a process runs must come from nobody else. So the folder and its files belong to this user and are written by
no other; beside the library lies a hash of its bytes, and one that does not agree - cut short, altered, of another
source - is compiled again and never loaded. However many threads and processes ask at once, one of them compiles.
"""

import atexit
import contextlib
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import torch

try:
    import fcntl
except ImportError:  # Windows, where nothing is built
    fcntl = None

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC")
SOURCES = ("stage.c", "within_map.c", "local.c", "few_rows.c", "data.c", "update.c")
HEADERS = ("common.h",)
MORE_FLAGS = "ALEXNET_NATIVE_FLAGS"  # the environment's, behind ours: sanitizers
BUILD_SECONDS = 120
WRITTEN_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def _user() -> int:
    """This user's number."""
    return os.getuid() if hasattr(os, "getuid") else 0


class CannotBuild(Exception):
    """There is no library, and the message says why."""


class Refused(Exception):
    """A folder that libraries cannot be kept in; the message names it and says why."""


class Recipe:
    """How the library is made, and the key of what comes of it.

    Args:
        compiler: path of a C compiler.
        openmp: the OpenMP runtime to link with.

    Raises:
        CannotBuild: the compiler does not run.
    """

    def __init__(self, compiler: str, openmp: Path):
        self.compiler, self.openmp = compiler, openmp
        try:
            self.more = shlex.split(os.environ.get(MORE_FLAGS, ""))
        except ValueError as error:
            raise CannotBuild(f"{MORE_FLAGS}: {error}") from error
        room = resources.files("alexnet.native")
        self.sources = {name: room.joinpath(name).read_bytes() for name in (*SOURCES, *HEADERS)}
        version = self.run("--version", folder=Path("/"))
        flags = " ".join((*FLAGS, *self.more))
        texts = [*self.sources.values(), version, str(openmp).encode(), flags.encode(), _processor()]
        self.key = hashlib.sha256(b"\0".join(texts)).hexdigest()[:20]

    def run(self, *arguments: str, folder: Path) -> bytes:
        """What the compiler prints; it works in ``folder``, its own temporary files among them."""
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # sanitizers are ours
        try:
            return subprocess.run(
                [self.compiler, *arguments], env={**environment, "TMPDIR": str(folder)}, cwd=folder,
                capture_output=True, timeout=BUILD_SECONDS, check=True,
            ).stdout  # fmt: skip
        except subprocess.CalledProcessError as error:
            lines = error.stderr.decode("utf-8", "replace").strip().splitlines()
            raise CannotBuild(f"{self.compiler} failed: {lines[-1][:200] if lines else 'no output'}") from error
        except subprocess.TimeoutExpired as error:
            raise CannotBuild(f"{self.compiler} was not done after {BUILD_SECONDS} seconds") from error
        except OSError as error:
            raise CannotBuild(f"{self.compiler} does not run: {error.strerror}") from error

    def compile(self, room: Path) -> Path:
        """The library's path in an empty folder."""
        for name, text in self.sources.items():
            (room / name).write_bytes(text)
        self.run(*FLAGS, *self.more, "-fopenmp", "-c", *SOURCES, folder=room)
        objects = [str(Path(name).with_suffix(".o")) for name in SOURCES]
        self.run("-shared", *self.more, *objects, str(self.openmp), "-lm", "-o", "native.so", folder=room)
        return room / "native.so"  # linked with torch's libgomp, not the compiler's own


def find_compiler() -> str:
    """The C compiler of this machine. Raises ``CannotBuild`` where there is none."""
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise CannotBuild("no C compiler; install gcc or clang")
    return compiler


def find_openmp() -> Path:
    """The OpenMP runtime that this torch brings. Raises ``CannotBuild`` where it brings none."""
    home = Path(torch.__file__).parent
    candidates = [*home.glob("lib/libgomp*.so*"), *home.parent.glob("torch.libs/libgomp*.so*")]
    if not candidates:
        raise CannotBuild(f"torch {torch.__version__} brings no libgomp whose threads could be shared")
    return candidates[0]


def _processor() -> bytes:
    """What ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().split(b"\n\n")[0].splitlines()
    except OSError:
        return platform.processor().encode()
    return b"\n".join(line for line in lines if line.startswith((b"model", b"flags", b"Features", b"CPU")))


def folders() -> Iterator[Path]:
    """Where libraries may be kept, the best first: the user's cache, one below the temporary folder, one of today."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(home):  # the specification has such values ignored
        home = os.path.join(os.path.expanduser("~"), ".cache")
    if os.path.isabs(home):
        yield Path(os.path.realpath(os.path.join(home, "alexnet")))
    with contextlib.suppress(OSError):
        yield Path(tempfile.gettempdir(), f"alexnet-{_user()}")
        folder = tempfile.mkdtemp(prefix="alexnet-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        yield Path(folder)


def make_private(folder: Path) -> None:
    """Makes a folder that this user alone can write, or sees that it is one. Raises ``Refused``."""
    try:
        if not folder.is_dir():
            for path in (*reversed(folder.parents), folder):
                path.mkdir(mode=0o700, exist_ok=True)
        seen = folder.lstat()
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror}") from error
    if not stat.S_ISDIR(seen.st_mode):
        raise Refused(f"{folder}: is no folder")
    if seen.st_uid != _user():
        raise Refused(f"{folder}: belongs to another user")
    if seen.st_mode & stat.S_IWOTH:
        raise Refused(f"{folder}: others may write to it")
    if seen.st_mode & stat.S_IWGRP:  # as an earlier version made it, where each user has a group
        try:
            folder.chmod(0o700)
        except OSError as error:
            raise Refused(f"{folder}: others may write to it") from error


def library_in(folder: Path, recipe: Recipe) -> Path:
    """The library for this recipe, compiled unless it is there and whole.

    Raises:
        CannotBuild: the compiler fails.
        Refused: the folder is not this user's own, or cannot be written.
    """
    make_private(folder)
    library = folder / f"native-{recipe.key}.so"
    if is_whole(library, recipe.key):
        return library
    try:
        with _locked(library.with_suffix(".lock")):
            if not is_whole(library, recipe.key):
                _build(library, recipe)
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror or error}") from error
    return library


def is_whole(library: Path, key: str) -> bool:
    """Whether the library is what was once compiled under this key, and nobody else could have put it there."""
    try:
        return _own_bytes(library.with_suffix(".sha256")) == _digest(_own_bytes(library), key)
    except OSError:
        return False


def _digest(data: bytes, key: str) -> bytes:
    return hashlib.sha256(key.encode() + data).hexdigest().encode()


def _own_bytes(path: Path) -> bytes:
    """A regular file of this user that no other can write; else an ``OSError``."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        seen = os.fstat(file.fileno())
        if not stat.S_ISREG(seen.st_mode) or seen.st_uid != _user() or seen.st_mode & WRITTEN_BY_OTHERS:
            raise PermissionError(f"{path}: others may have written it")
        return file.read()


def _build(library: Path, recipe: Recipe) -> None:
    """Compiles in a folder that nobody else can look into, and moves what came of it when it lies on the disk."""
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=f"{library.stem}-") as name:
        room = Path(name)
        made, digest = recipe.compile(room), room / "native.sha256"
        digest.write_bytes(_digest(made.read_bytes(), recipe.key))
        for path, mode, target in ((digest, 0o600, library.with_suffix(".sha256")), (made, 0o700, library)):
            path.chmod(mode)
            _flush(path)
            os.replace(path, target)
    _flush(library.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time. It saves work and no more: where it cannot be had, the block runs without.

    The system takes the lock from a process that dies; a living one has as long as a compiler may take.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + BUILD_SECONDS
        while fcntl is not None and time.monotonic() < end:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:  # a file system without locks
                break
        yield
    finally:
        os.close(descriptor)
