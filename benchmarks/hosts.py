"""Several hosts on one Linux machine, as root: network namespaces on a bridge, or on a wire that delays.

A rate is held by ``tbf``. A delay is a wire of two TUN devices whose packets a process carries (``wire.py``): not every
kernel has netem.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

PREFIX, PORT = "alexnet", 29511
FRAME = 14 + 20 + 32  # bytes of Ethernet, IP and TCP (with time stamps) before a packet's payload


def run(command: str) -> None:
    """Runs a command of ``ip`` or ``tc``."""
    subprocess.run(command.split(), check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def bridged(count: int, name: str = PREFIX) -> Iterator[list[tuple[str, str, str]]]:
    """So many namespaces on a bridge; yields (namespace, interface, address) of each, and removes them."""
    bridge = f"{name[:9]}-br"
    hosts = [(f"{name}{i}", "eth0", f"10.97.0.{i + 1}") for i in range(count)]
    links = [*(f"{name[:9]}-v{i}" for i in range(count)), bridge]  # a namespace takes its end along a while later
    _remove(hosts, links)
    try:
        run(f"ip link add {bridge} type bridge")
        run(f"ip link set {bridge} up")
        for i, (space, interface, address) in enumerate(hosts):
            run(f"ip netns add {space}")
            run(f"ip link add {name[:9]}-v{i} type veth peer name {interface} netns {space}")
            run(f"ip link set {name[:9]}-v{i} master {bridge} up")
            run(f"ip -n {space} addr add {address}/24 dev {interface}")
            run(f"ip -n {space} link set {interface} up")
            run(f"ip -n {space} link set lo up")
        yield hosts
    finally:
        _remove(hosts, links)


def limit(rate: str | None) -> None:
    """Holds what this rank's interface sends to a rate, such as ``1gbit``; None: as fast as it goes."""
    words = f"tc qdisc replace dev {os.environ['COUNTED']} root "
    run(words + (f"tbf rate {rate} burst 256kb latency 50ms" if rate else "pfifo"))


def _remove(hosts: Sequence[tuple[str, str, str]], links: Sequence[str] = ()) -> None:
    for link in links:
        subprocess.run(["ip", "link", "del", link], stderr=subprocess.DEVNULL)
    for space, *_ in hosts:
        subprocess.run(["ip", "netns", "del", space], stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def wired(asked: Path, name: str = PREFIX) -> Iterator[list[tuple[str, str, str]]]:
    """Two namespaces on a wire; yields them as ``bridged``.

    Args:
        asked: a file of the wire's delay, milliseconds, and rate, Mbit/s; it may be written again.
        name: begins the namespaces' names.
    """
    hosts = [(f"{name}{i}", f"wire{i}", f"10.98.0.{i + 1}") for i in range(2)]
    _remove(hosts)
    process = None
    try:
        for space, *_ in hosts:
            run(f"ip netns add {space}")
            run(f"ip -n {space} link set lo up")
        words = [sys.executable, str(Path(__file__).with_name("wire.py")), str(asked)]
        process = subprocess.Popen([*words, *(word for host in hosts for word in host)], stdout=subprocess.PIPE)
        assert process.stdout and process.stdout.readline()
        yield hosts
    finally:
        if process:
            process.kill()
            process.wait()
        _remove(hosts)


def on_hosts(hosts: Sequence[tuple[str, str, str]], arguments: Sequence[str], seconds: float = 600.0) -> str:
    """Runs ``python ARGUMENTS`` as one rank on each host; what the first one prints.

    Raises:
        RuntimeError: one of them failed, with what it said.
    """
    with tempfile.TemporaryDirectory() as room, contextlib.ExitStack() as running:
        ranks = []
        for rank, (space, interface, _) in enumerate(hosts):
            environment = {
                **os.environ,
                "RANK": str(rank), "WORLD_SIZE": str(len(hosts)), "LOCAL_RANK": "0",
                "MASTER_ADDR": hosts[0][2], "MASTER_PORT": str(PORT), "GLOO_SOCKET_IFNAME": interface,
                "ALEXNET_TIMEOUT": "300", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
                "COUNTED": interface,
            }  # fmt: skip
            out = running.enter_context(open(Path(room, f"{rank}.out"), "w+"))
            err = running.enter_context(open(Path(room, f"{rank}.err"), "w+"))
            command = ["ip", "netns", "exec", space, sys.executable, *arguments]
            ranks.append((subprocess.Popen(command, env=environment, stdout=out, stderr=err), out, err))
        try:
            codes = [process.wait(seconds) for process, *_ in ranks]
        finally:
            for process, *_ in ranks:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        if any(codes):
            said = "\n".join(Path(err.name).read_text() for _, _, err in ranks)
            raise RuntimeError(f"exit statuses {codes}:\n{said}")
        return Path(ranks[0][1].name).read_text()


def sent() -> tuple[int, int]:
    """Bytes and packets that this rank's interface has sent, headers and all."""
    statistics = Path("/sys/class/net", os.environ["COUNTED"], "statistics")
    return int((statistics / "tx_bytes").read_text()), int((statistics / "tx_packets").read_text())
