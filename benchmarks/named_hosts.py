"""Hosts that are network namespaces with names of their own, and processes on them: what ``clusters.py`` runs in."""

import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import alexnet
from benchmarks import hosts

LIMIT = 300  # seconds for a command


@dataclasses.dataclass(frozen=True)
class Host:
    """A namespace with a name, an address, and a file of the names that it knows."""

    space: str
    address: str
    name: str
    names: Path

    def words(self, *command: object) -> list[str]:
        """A command as it runs there."""
        enter = 'hostname "$0"; mount --bind "$1" /etc/hosts; shift; exec "$@"'
        inside = ["unshare", "--mount", "--uts", "sh", "-c", enter, self.name, self.names]
        return [str(word) for word in ("nsenter", f"--net=/run/netns/{self.space}", *inside, *command)]

    def sent(self) -> int:
        """Bytes that its interface has sent."""
        said = subprocess.run(self.words("cat", "/proc/net/dev"), check=True, capture_output=True, text=True)
        return int(re.findall(r"eth0:(.*)", said.stdout)[0].split()[8])


@dataclasses.dataclass
class Cluster:
    """Hosts, the folder that all of them see, and what was started on them."""

    room: Path
    hosts: list[Host]
    stack: contextlib.ExitStack
    environment: dict[str, str]

    def start(self, host: Host, *command: object, log: str = "log", **more: str) -> subprocess.Popen[bytes]:
        """Starts a command; what it says goes to a file. It is ended with the cluster."""
        file = self.stack.enter_context(open(self.room / log, "ab"))
        process = subprocess.Popen(
            host.words(*command), cwd=self.room, env={**self.environment, **more}, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=file, stderr=file,
        )  # fmt: skip
        self.stack.callback(end, process)
        return process

    def ask(self, *command: object, **more: str) -> str:
        """What a command says on the first host."""
        process = subprocess.run(
            self.hosts[0].words(*command), cwd=self.room, env={**self.environment, **more}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=LIMIT,
        )  # fmt: skip
        if process.returncode:
            raise RuntimeError(f"{command}: {process.stdout}{process.stderr}")
        return process.stdout


def end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def cluster(room: Path, names: Sequence[str], *known: str) -> Iterator[Cluster]:
    """So many hosts of these names, which know each other by them.

    Args:
        room: the folder that all see.
        names: of the hosts.
        known: further names, one a host, ``{}`` for the host's own.
    """
    with hosts.bridged(len(names), f"on-{names[0]}-") as spaces, contextlib.ExitStack() as stack:
        made = []
        for (space, _, address), name in zip(spaces, names):
            made.append(Host(space, address, name, room / f"hosts-{name}"))
        for host in made:
            entries = [
                f"{one.address} {' '.join([*(more.format(one.name) for more in known), one.name])}" for one in made
            ]
            host.names.write_text("127.0.0.1 localhost\n" + "\n".join(entries) + "\n", encoding="utf-8")
        paths = [str(room / "patch"), str(Path(alexnet.__file__).parents[1])]
        tools = os.pathsep.join([str(room / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {
            **os.environ, "PYTHONPATH": os.pathsep.join(paths), "PATH": tools, "OMP_NUM_THREADS": "1",
            "SLURM_CONF": str(room / "slurm.conf"),
        }  # fmt: skip
        yield Cluster(room, made, stack, environment)
