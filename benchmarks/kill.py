"""Kills a training and a prepare at random moments, goes on each time, and compares with undisturbed ones bitwise.

    python -m benchmarks.kill SOURCE FOLDER --kills 10 -- --epochs 4 --batch-size 32
    python -m benchmarks.kill SOURCE FOLDER --kills 20 --only-prepare --full-disk

What follows ``--`` are options of ``alexnet train``. With ``--full-disk`` (Linux, as root) a prepare also writes to
a disk too small for it, which is then enlarged. Prints one JSON object; exit status 1 if a byte differs.
"""

import hashlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from alexnet.runs.checkpoint import find_checkpoint
from benchmarks import harness


def alexnet(*arguments: object, kill_after: float | None = None) -> tuple[bool, float]:
    """Runs a command; whether it was killed, and the seconds it took."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "alexnet", *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _, said = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return True, time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"{arguments}: exit status {process.returncode}: {said.decode()}")
    return False, time.monotonic() - started


def digest(paths: list[Path]) -> str:
    """SHA-256 over files' names and bytes."""
    found = hashlib.sha256()
    for path in sorted(paths):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def of_run(run: Path) -> str:
    """Of the last checkpoint's tensors, and the metrics."""
    place = find_checkpoint(run)
    assert place
    return digest([place / "weights.safetensors", place / "state.safetensors", run / "metrics.jsonl"])


def of_store(dataset: Path) -> str:
    """Of every file."""
    return digest([path for path in dataset.iterdir() if path.is_file()])


def disturb(command: list[object], target: Path, kills: int, seconds: float) -> list[float]:
    """Kills the command ``kills`` times, each at a moment drawn from the time that it needs; then lets it end."""
    moments = []
    while len(moments) < kills:
        moment = random.uniform(1.0, max(2.0, seconds))
        killed, _ = alexnet(*command, kill_after=moment)
        if killed:
            moments.append(round(moment, 2))
        else:  # it was through before its moment came: begin anew
            subprocess.run(["rm", "-rf", str(target)], check=True)
    alexnet(*command)
    return moments


def fill_disk(source: str, place: Path, needed: int) -> dict[str, object]:
    """Prepares on disks of a third and two thirds of what is needed, then of enough; what was said of the full ones."""
    place.mkdir()
    said = []
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={needed // 3}", "tmpfs", str(place)], check=True)
    try:
        for share in (1, 2):
            subprocess.run(["mount", "-o", f"remount,size={needed * share // 3}", str(place)], check=True)
            command = [sys.executable, "-m", "alexnet", "prepare", source, str(place / "store")]
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            assert done.returncode == 1, done.stderr
            said.append(done.stderr.splitlines()[-1].replace(str(place), "DISK"))
        subprocess.run(["mount", "-o", f"remount,size={needed * 2}", str(place)], check=True)
        alexnet("prepare", source, place / "store")
        return {"said_of_a_full_disk": said, "digest": of_store(place / "store")}
    finally:
        subprocess.run(["umount", str(place)], check=True)


def main() -> int:
    parser = harness.parser(__doc__)
    parser.add_argument("source")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--only-prepare", action="store_true")
    parser.add_argument("--full-disk", action="store_true")
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    options, training = parser.parse_args(given[:end]), given[end + 1 :]
    folder = options.folder
    folder.mkdir(parents=True)
    _, seconds = alexnet("prepare", options.source, folder / "store")
    command = ["prepare", options.source, folder / "killed-store"]
    told: dict = {"prepare_seconds": round(seconds, 2)}
    told["prepare_killed_at"] = disturb(command, folder / "killed-store", options.kills, seconds)
    told["stores_equal"] = of_store(folder / "store") == of_store(folder / "killed-store")
    if options.full_disk:
        needed = sum(path.stat().st_size for path in (folder / "store").iterdir())
        disk = fill_disk(options.source, folder / "disk", needed)
        told["stores_equal"] &= disk.pop("digest") == of_store(folder / "store")
        told |= disk
    if options.only_prepare:
        harness.emit(told)
        return 0 if told["stores_equal"] else 1
    _, seconds = alexnet("train", folder / "store", folder / "run", *training)
    command = ["train", folder / "store", folder / "killed-run", *training]
    told["train_seconds"] = round(seconds, 2)
    told["train_killed_at"] = disturb(command, folder / "killed-run", options.kills, seconds)
    told["runs_equal"] = of_run(folder / "run") == of_run(folder / "killed-run")
    harness.emit(told)
    return 0 if told["stores_equal"] and told["runs_equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
