"""What becomes of a training of two processes when something breaks: each fault tried many times.

    python -m benchmarks.faults --trials 10 [--only killed,stopped] > docs/raw/parallel-faults.json

A fault comes at a step, by a patch of the step in one rank, never by the clock. A full disk and a pulled cable need
root (``mount``, ``ip``). Where a training ends, its checkpoint and metrics are held bitwise against an undisturbed
one's. Prints one JSON object; exit status 1 where a trial ended otherwise than it should.
"""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import alexnet
from benchmarks import harness, hosts
from benchmarks.kill import of_run

TIMEOUT, STEP, LIMIT = 8, 9, 240  # seconds for a rank to answer; the step of the fault; seconds for a trial
NET = Path(__file__).with_name("small.toml")
PATCH = """
import os
kind, _, where = os.environ.get("FAULT", "").partition(":")
rank, _, value = where.partition("=")
if kind and os.environ.get("RANK") == rank:
    if kind == "threads":
        os.environ["OMP_NUM_THREADS"] = value
    elif kind == "code":
        import alexnet.training.parallel.alike as alike
        alike.code_digest = lambda: "0.0.0 (another)"
    elif kind == "late":
        import time
        time.sleep(float(value))
    else:
        import signal, time
        if kind == "gap" and os.path.exists(os.environ["FAULT_ONCE"]):  # started again: until the second job has ended
            open(os.environ["FAULT_ONCE"] + ".gap", "w").close()
            while not os.path.exists(os.environ["FAULT_ONCE"] + ".tried"):
                time.sleep(0.05)
        from alexnet.training.step import Step
        inner, once = Step.__call__, os.environ["FAULT_ONCE"]
        again = os.path.splitext(once)[0] + ".again"
        def call(self, batch, number=0):
            if os.path.exists(once) and not os.path.exists(again):
                open(again, "w").write(str(time.time()))
            if number == int(value) and not os.path.exists(once):
                if kind == "pause":
                    open(os.path.splitext(once)[0] + ".pid", "w").write(str(os.getpid()))
                open(once, "w").write(str(time.time()))
                if kind == "fill":
                    with open(os.environ["FAULT_DISK"] + "/fill", "wb", buffering=0) as file:
                        try:
                            while True:
                                file.write(bytes(4096))
                        except OSError:
                            return inner(self, batch, number)
                if kind == "raise":
                    raise RuntimeError("a fault of this trial")
                os.kill(os.getppid() if kind == "end" else os.getpid(), {"kill": signal.SIGKILL, "gap": signal.SIGKILL,
                    "stop": signal.SIGSTOP, "pause": signal.SIGSTOP, "term": signal.SIGTERM,
                    "end": signal.SIGTERM}[kind])
            return inner(self, batch, number)
        Step.__call__ = call
"""


@dataclasses.dataclass(frozen=True)
class Room:
    """Where the trials are: data, an undisturbed run, and what each trial writes."""

    path: Path

    @property
    def dataset(self) -> Path:
        return self.path / "data"

    @property
    def once(self) -> Path:
        return self.path / "once"

    @property
    def again(self) -> Path:
        return self.path / "once.again"

    def options(self, run: Path) -> list[object]:
        return ["train", self.dataset, run, "--net", NET, "--epochs", 6, "--batch-size", 20, "--quiet"]

    def environment(self, fault: str = "") -> dict[str, str]:
        own = {
            "FAULT": fault,
            "FAULT_ONCE": str(self.once),
            "FAULT_DISK": str(self.path / "disk"),
            "ALEXNET_TIMEOUT": str(TIMEOUT),
            "OMP_NUM_THREADS": "1",
        }
        paths = [str(self.path / "patch"), str(Path(alexnet.__file__).parents[1])]
        return {**os.environ, **own, "PYTHONPATH": os.pathsep.join(paths)}


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, its lines, and seconds since the fault, or since it started.

    Where it was started again, ``again`` has the seconds from the fault to the faulty rank's first step after it.
    """

    status: int
    lines: list[str]
    seconds: float
    again: float | None = None


def command(words: Sequence[object], room: Room, fault: str = "", **options: Any) -> Ended:
    """Runs ``alexnet`` or torchrun's module to the end; a hang is an end, too: 124."""
    started = time.time()
    process = subprocess.Popen(
        [*options.pop("within", ()), sys.executable, "-m", *map(str, words)],
        env={**room.environment(fault), **options.pop("more", {})},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True, **options,
    )  # fmt: skip
    try:
        _, said = process.communicate(timeout=LIMIT)
        status = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        status, said = 124, ""
    since = float(room.once.read_text()) if room.once.exists() and room.once.read_text() else started
    again = float(room.again.read_text()) - since if room.again.exists() else None
    ours = [line for line in said.splitlines() if line.startswith(("error:", "alexnet:", "rank ")) or "]: rank" in line]
    return Ended(status, ours, time.time() - since, again)


def devices(room: Room, run: Path, fault: str, *more: object) -> Ended:
    """A training in two processes by ``--devices``."""
    return command(["alexnet", *room.options(run), "--devices", 2, *more], room, fault)


def torchrun(room: Room, run: Path, fault: str, per_rank: Mapping[int, Sequence[object]]) -> Ended:
    """A training in two processes that torchrun would start, whose words may differ."""
    port, processes = _free_port(), []
    for rank in (0, 1):
        own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        words = per_rank.get(rank, room.options(run))
        environment = {**room.environment(fault), **{name: str(value) for name, value in own.items()}}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "alexnet", *map(str, words)],
                env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
    started, said = time.time(), []
    for process in processes:
        said += process.communicate(timeout=LIMIT)[1].splitlines()
    ours = [line for line in said if line.startswith(("error:", "alexnet:", "Traceback"))]
    return Ended(max(process.returncode for process in processes), ours, time.time() - started)


def _free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]


def same_as_undisturbed(room: Room, run: Path) -> bool:
    """Whether a run is bitwise the undisturbed one."""
    return of_run(run) == of_run(room.path / "undisturbed")


def goes_on(room: Room, run: Path) -> bool:
    """Whether the same command then ends as if nothing had been."""
    return devices(room, run, "").status == 0 and same_as_undisturbed(room, run)


Trial = Callable[[Room, Path], tuple[Ended, bool]]


def restarted(fault: str) -> Trial:
    """The launcher starts all again, and the run ends as if nothing had been."""

    def trial(room: Room, run: Path) -> tuple[Ended, bool]:
        ended = devices(room, run, fault)
        return ended, ended.status == 0 and same_as_undisturbed(room, run)

    return trial


def saved(fault: str) -> Trial:
    """All stop at one step and save; the same command ends as if nothing had been."""

    def trial(room: Room, run: Path) -> tuple[Ended, bool]:
        ended = devices(room, run, fault)
        said = len(ended.lines) <= 1 and ended.seconds < 30
        return ended, ended.status in (130, 143) and said and goes_on(room, run)

    return trial


def raised(room: Room, run: Path) -> tuple[Ended, bool]:
    """An exception of one rank: its traceback alone, with rank and step; then the same command goes on."""
    ended = devices(room, run, f"raise:1={STEP}")
    named = any(f"rank 1, step {STEP + 1}" in line for line in ended.lines)
    return ended, ended.status == 1 and named and goes_on(room, run)


def refused(words: str, fault: str = "", more: Sequence[object] = ()) -> Trial:
    """Ranks that differ: one line from one of them, exit status 2, nothing trained."""

    def trial(room: Room, run: Path) -> tuple[Ended, bool]:
        other = {1: [*room.options(run), *more]} if more else {}
        if "DATA" in more:
            other = {1: ["train", room.path / "other", *room.options(run)[2:]]}
        ended = torchrun(room, run, fault, other)
        return ended, ended.status == 2 and len(ended.lines) == 1 and words in ended.lines[0]

    return trial


def late(room: Room, run: Path) -> tuple[Ended, bool]:
    """A rank that comes five seconds late is waited for."""
    ended = torchrun(room, run, "late:1=5", {})
    return ended, ended.status == 0 and same_as_undisturbed(room, run)


def never(room: Room, run: Path) -> tuple[Ended, bool]:
    """A rank that never comes: one line after the time-out."""
    more = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    ended = command(["alexnet", *room.options(run)], room, more={**more, "MASTER_PORT": str(_free_port())})
    return ended, ended.status == 1 and len(ended.lines) == 1 and "not all ranks" in ended.lines[0]


def two_jobs(room: Room, run: Path) -> tuple[Ended, bool]:
    """A second job on a run's folder: one line; the first one is not disturbed."""
    patient = {**room.environment(f"pause:1={STEP}"), "ALEXNET_TIMEOUT": str(LIMIT)}
    first = subprocess.Popen(
        [sys.executable, "-m", "alexnet", *map(str, room.options(run)), "--devices", "2"],
        env=patient, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not room.once.exists() and first.poll() is None:  # the first one trains, and waits for its stopped rank
        time.sleep(0.1)
    ended = devices(room, run, "")
    os.kill(int(room.once.with_suffix(".pid").read_text()), signal.SIGCONT)
    first.wait(LIMIT)
    said = len(ended.lines) == 1 and "is writing there" in ended.lines[0]
    return ended, ended.status == 1 and said and first.returncode == 0 and same_as_undisturbed(room, run)


def two_jobs_amid_a_restart(room: Room, run: Path) -> tuple[Ended, bool]:
    """A second job comes while none of the first one's ranks lives: refused, by two processes and by one."""
    gap, tried = Path(f"{room.once}.gap"), Path(f"{room.once}.tried")
    patient = {**room.environment(f"gap:0={STEP}"), "ALEXNET_TIMEOUT": str(LIMIT)}
    first = subprocess.Popen(
        [sys.executable, "-m", "alexnet", *map(str, room.options(run)), "--devices", "2"],
        env=patient, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not gap.exists() and first.poll() is None:
        time.sleep(0.05)
    both = devices(room, run, ""), command(["alexnet", *room.options(run)], room)
    tried.touch()
    first.wait(LIMIT)
    gap.unlink(missing_ok=True)
    tried.unlink()
    lines = [line for ended in both for line in ended.lines]
    said = len(lines) == 2 and all(f"process {first.pid} " in line and "is writing there" in line for line in lines)
    refused = all(ended.status == 1 for ended in both) and said
    return both[0], refused and first.returncode == 0 and same_as_undisturbed(room, run)


def full_disk(room: Room, run: Path) -> tuple[Ended, bool]:
    """The first rank's disk is too small: one line, and what was saved goes on where there is more."""
    disk = room.path / "disk"
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
    try:
        ended = devices(room, disk / "run", f"fill:0={STEP}")
        (disk / "fill").unlink()
        again = goes_on(room, disk / "run")
        return ended, ended.status == 1 and len(ended.lines) == 1 and "space" in ended.lines[0] and again
    finally:
        subprocess.run(["umount", disk], check=True)


def cable(seconds: float, timeout: float = TIMEOUT) -> Trial:
    """The cable between two hosts is pulled at a step, and put back: a short while is bridged, a longer one told.

    Args:
        seconds: until it is put back.
        timeout: of a rank, seconds.
    """

    def trial(room: Room, run: Path) -> tuple[Ended, bool]:
        with hosts.bridged(2, "fault") as two:
            processes = [_host(room, run, two, rank, timeout) for rank in range(2)]
            link = ["ip", "-n", two[0][0], "link", "set", two[0][1]]
            while not room.once.exists() and processes[0].poll() is None:
                time.sleep(0.05)
            started = time.time()
            subprocess.run([*link, "down"], check=True)
            os.kill(int(room.once.with_suffix(".pid").read_text()), signal.SIGCONT)
            time.sleep(seconds)
            subprocess.run([*link, "up"], check=True)
            said = [line for process in processes for line in process.communicate(timeout=LIMIT)[1].splitlines()]
        ours = [line for line in said if line.startswith(("error:", "alexnet:", "Traceback"))]
        ended = Ended(max(process.returncode for process in processes), ours, time.time() - started)
        if seconds < timeout:
            return ended, ended.status == 0 and same_as_undisturbed(room, run)
        return ended, ended.status == 1 and 1 <= len(ours) <= 2 and goes_on(room, run)

    return trial


def _host(
    room: Room, run: Path, two: list[tuple[str, str, str]], rank: int, timeout: float
) -> subprocess.Popen[str]:  # fmt: skip
    """One rank in a namespace of its own; the first one stops itself at the step, until the cable is pulled."""
    space, interface, _ = two[rank]
    own = {"RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": two[0][2], "MASTER_PORT": 29500}
    environment = {**room.environment(f"pause:0={STEP}"), **{key: str(value) for key, value in own.items()}}
    return subprocess.Popen(
        ["ip", "netns", "exec", space, sys.executable, "-m", "alexnet", *map(str, room.options(run))],
        env={**environment, "GLOO_SOCKET_IFNAME": interface, "ALEXNET_TIMEOUT": str(timeout)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


TRIALS: dict[str, Trial] = {
    "killed, rank 1": restarted(f"kill:1={STEP}"),
    "killed, rank 0": restarted(f"kill:0={STEP}"),
    "exception, rank 1": raised,
    "stopped (SIGSTOP), rank 1": restarted(f"stop:1={STEP}"),
    "stopped (SIGSTOP), rank 0": restarted(f"stop:0={STEP}"),
    "SIGTERM to rank 0": saved(f"term:0={STEP}"),
    "SIGTERM to rank 1": saved(f"term:1={STEP}"),
    "SIGTERM to the launcher": saved(f"end:1={STEP}"),
    "disk full, rank 0": full_disk,
    "cable pulled, 8 s": cable(8, 2 * TIMEOUT),
    "cable pulled, 25 s": cable(25),
    "another dataset": refused("dataset", more=["DATA"]),
    "another recipe": refused("recipe", more=["--lr", "0.02"]),
    "another version": refused("version of alexnet", "code:1=1"),
    "another number of threads": refused("number of threads", "threads:1=2"),
    "a rank 5 s late": late,
    "a rank that never comes": never,
    "two jobs in one folder": two_jobs,
    "a second job during a restart": two_jobs_amid_a_restart,
}


def set_up(path: Path) -> Room:
    """Data, another data set, the patch, and an undisturbed run."""
    for name, seed in (("data", 0), ("other", 1)):
        photos, random = path / f"photos-{name}", np.random.default_rng(seed)
        for label in "abcd":
            (photos / label).mkdir(parents=True)
            for number in range(20):
                pixels = random.integers(0, 255, (80, 80, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(photos / label / f"{number}.jpg")
        alexnet.prepare(photos, path / name, size=72, val_fraction=0.25)
    (path / "patch").mkdir()
    (path / "patch" / "sitecustomize.py").write_text(PATCH)
    room = Room(path)
    assert devices(room, path / "undisturbed", "").status == 0
    return room


def main() -> int:
    parser = harness.parser(__doc__)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--only", default="", help="parts of names, with commas")
    asked = parser.parse_args()
    wanted = [part for part in asked.only.split(",") if part]
    table, right = {}, True
    with tempfile.TemporaryDirectory() as folder:
        room = set_up(Path(folder))
        for name, trial in TRIALS.items():
            if wanted and not any(part in name for part in wanted):
                continue
            seconds, again, good, lines = [], [], 0, set()
            for number in range(asked.trials):
                room.once.unlink(missing_ok=True)
                room.again.unlink(missing_ok=True)
                ended, as_wanted = trial(room, room.path / f"{name.replace(' ', '-')}-{number}")
                seconds.append(round(ended.seconds, 1))
                again += [] if ended.again is None else [round(ended.again, 1)]
                good += as_wanted
                lines |= {line.replace(folder, "FOLDER") for line in ended.lines[-1:]}
                harness.note(name, number, ended.status, as_wanted, f"{ended.seconds:.1f} s", ended.lines[-2:])
            right &= good == asked.trials
            median = sorted(seconds)[len(seconds) // 2]
            table[name] = {"trials": asked.trials, "as it should": good, "seconds": median, "most": max(seconds),
                           "seconds to the first step again": again, "said": sorted(lines)[:2]}  # fmt: skip
    harness.emit({"timeout": TIMEOUT, "faults": table})
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
