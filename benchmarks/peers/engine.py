"""Peers in environments of their own, each in a process that waits while another is measured."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import ENVIRONMENTS

HERE = Path(__file__).parent
QUIET = 0.2  # seconds between measurements: a peer's idle threads spin for a while before they sleep


def environment(name: str, constraints: str) -> Path:
    """The Python of a peers' environment below ``ENVIRONMENTS``, built where it is not yet.

    Args:
        name: of the environment.
        constraints: name of the file beside this one that lists what is in it.
    """
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(HERE / constraints)], check=True)
    return python


class Engine:
    """A peer in its process: given ``go``, it answers with a number. What it says first is in ``first``."""

    def __init__(self, command: list[str]):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first = json.loads(self._line())

    def _line(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("error: a peer ended; what it said stands above")
        return line

    def __call__(self) -> float:
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return float(self._line())


def paused(task: Callable[[], float]) -> Callable[[], float]:
    """The same after a while in which other processes' threads fall asleep."""

    def waited() -> float:
        time.sleep(QUIET)
        return task()

    return waited
