"""The Slurm, Kubernetes and ssh lines of docs/scale.md, run as they stand there, on hosts that are network namespaces.

    apt-get install slurm-wlm munge openssh-server openssh-client iproute2
    python -m benchmarks.clusters [--only slurm,ssh,kubernetes] >docs/raw/clusters.json

Linux, as root. Each host has a network, a name and an ``/etc/hosts`` of its own; processes and files are shared. Of the
lines three things are changed: one process a host, what is trained on and where to, and options that make it small.
There is Slurm with its controller and two nodes, sshd on two hosts, and of Kubernetes only what a pod sees: its name,
and those of the headless service. There are no GPUs.

Each way trains, is ended by its own means in the middle, and is given again. The weights are held against those of one
process, in float32; the net has nothing that rounding decides (docs/scale.md, "As one process"). Prints one JSON
object; exit status 1 where something did not hold.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

import alexnet
from alexnet.runs.checkpoint import find_checkpoint, read_note
from benchmarks import harness
from benchmarks.equivalence import SMOOTH
from benchmarks.named_hosts import LIMIT, Cluster, cluster, end

DOCS = harness.ROOT / "docs" / "scale.md"
NET = "smooth.toml"
EPOCHS, STEPS, SLOW = 6, 18, 0.5  # a training; seconds of a slow step
CLOSE, SAVING = 1e-5, 30.0  # of weights in float32; seconds in which a training that is asked to end has saved
PATCH = """
import os, time
from alexnet.training.step import Step
inner = Step.__call__
def call(self, batch, number=0):
    time.sleep(float(os.environ.get("SLOW_STEP", "0")))
    return inner(self, batch, number)
Step.__call__ = call
"""
SLURM = """
ClusterName=here
SlurmctldHost={first}({address})
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={room}/munge.socket
StateSaveLocation={room}/state
SlurmdSpoolDir={room}/spool-%n
SlurmctldPidFile={room}/slurmctld.pid
SlurmdPidFile={room}/slurmd-%n.pid
SlurmctldLogFile={room}/slurmctld.log
SlurmdLogFile={room}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
{nodes}
PartitionName=all Nodes=ALL Default=YES State=UP
"""
SSHD = """
ListenAddress {address}
HostKey {room}/host_key
AuthorizedKeysFile {room}/key.pub
PidFile none
StrictModes no
UsePAM no
SetEnv PYTHONPATH={path} OMP_NUM_THREADS=1 SLOW_STEP={slow}
"""
SSH = """#!/bin/sh
exec /usr/bin/ssh -F {room}/ssh.conf "$@"
"""
CLIENT = """
IdentityFile {room}/key
UserKnownHostsFile {room}/known
StrictHostKeyChecking accept-new
LogLevel ERROR
"""


def wait_for(what: str, holds: Callable[[], object], seconds: float = LIMIT) -> float:
    """Waits until something holds; the seconds that it took."""
    started = time.monotonic()
    while not holds():
        if time.monotonic() - started > seconds:
            raise RuntimeError(f"{what}: not in {seconds:g} s")
        time.sleep(0.2)
    return time.monotonic() - started


def lines_of_docs() -> dict[str, str]:
    """The commands of docs/scale.md by the way they start a job: ``slurm``, ``kubernetes``, ``ssh``."""
    text = DOCS.read_text(encoding="utf-8")
    block = re.search(r"## Slurm.*?```sh\n(.*?)```", text, re.DOTALL)
    assert block
    parts = re.split(r"^# (\w+)", block[1], flags=re.MULTILINE)[1:]
    pairs = zip(parts[::2], parts[1::2])
    return {name.lower(): "\n".join(line for line in body.split("\n")[1:] if line[:1] != "#") for name, body in pairs}


def here(line: str, run: str) -> str:
    """A line of the docs for the hosts of this machine."""
    options = f"--net {NET} --precision float32 --epochs {EPOCHS} --batch-size 20 --quiet"
    line = line.replace("--nproc-per-node 8", "--nproc-per-node 1")
    assert line.count("train dataset run") == 1
    return line.replace("train dataset run", f"train dataset {run} {options}").strip()


def steps(room: Path, run: str) -> int:
    """Steps in a run's journal."""
    path = room / run / "metrics.jsonl"
    return path.read_text(encoding="utf-8").count('"split": "train"') if path.exists() else 0


def difference(room: Path, run: str) -> float:
    """The largest difference of weights from one process's."""
    one, other = (find_checkpoint(room / name) for name in ("alone", run))
    assert one and other
    weights, own = load_file(one / "weights.safetensors"), load_file(other / "weights.safetensors")
    return max(float(np.abs(weights[name] - own[name]).max()) for name in weights)


def step_of(room: Path, run: str) -> int:
    """The last checkpoint's step."""
    checkpoint = find_checkpoint(room / run)
    return 0 if checkpoint is None else read_note(checkpoint)["step"]


def layout_of(room: Path, run: str) -> str:
    """How the last checkpoint's ranks shared the net; empty where there is none."""
    checkpoint = find_checkpoint(room / run)
    return "" if checkpoint is None else read_note(checkpoint)["state"]["layout"]


Start = Callable[[str, str], Callable[[], bool]]  # a run, seconds a step: a function that says whether it has ended


def tried(own: Cluster, name: str, start: Start, stop: Callable[[str], object]) -> dict[str, Any]:
    """Trains by one way; then trains, is ended amid the training, and goes on by the same command.

    Args:
        own: the hosts.
        name: of the way.
        start: starts a job.
        stop: ends it, as its users do.
    """
    room, whole, cut = own.room, f"{name}-whole", f"{name}-cut"
    before = [host.sent() for host in own.hosts]
    seconds = wait_for(f"{name}: the end", start(whole, "0"))
    if steps(room, whole) < STEPS:
        raise RuntimeError(f"{name}: nothing was trained")
    sent = [host.sent() - bytes_ for host, bytes_ in zip(own.hosts, before)]
    layout = layout_of(room, whole)
    ended = start(cut, str(SLOW))
    wait_for(f"{name}: five steps", lambda: steps(room, cut) >= 5 or ended())
    if not steps(room, cut):
        raise RuntimeError(f"{name}: nothing was trained")
    stop(cut)
    took = wait_for(f"{name}: the end after it was asked for", ended)
    at, again = step_of(room, cut), wait_for(f"{name}: the end after it", start(cut, "0"))
    row = {
        "layout": layout, "seconds": round(seconds, 1), "bytes sent by each host": sent,
        "largest difference of weights": difference(room, whole), "asked to end: saved at step": at,
        "seconds until it had ended": round(took, 1), "then to the end": round(again, 1),
        "largest difference of weights then": difference(room, cut),
    }  # fmt: skip
    row["held"] = (
        f"{len(own.hosts)} ranks" in layout and min(sent) > 1e6 and 5 <= at < STEPS and took < SAVING
        and max(difference(room, whole), difference(room, cut)) <= CLOSE and steps(room, cut) == STEPS
    )  # fmt: skip
    harness.note(name, row)
    return row


def job_state(own: Cluster, job: str) -> str:
    """Slurm's word for a job: PENDING, RUNNING, COMPLETING, COMPLETED, CANCELLED, FAILED, ..."""
    match = re.search(r"JobState=(\w+)", own.ask("scontrol", "show", "job", job))
    return match[1] if match else "GONE"


def slurm(room: Path) -> dict[str, Any]:
    """Slurm: controller and two nodes; ended by ``scancel``, and another time put back into the queue."""
    with cluster(room, ["node0", "node1"]) as own:
        jobs: list[str] = []

        def start(run: str, slow: str) -> Callable[[], bool]:
            (room / f"{run}.sh").write_text(f"#!/bin/bash\n{here(lines_of_docs()['slurm'], run)}\n", encoding="utf-8")
            words = ["sbatch", "--parsable", "--nodes", 2, "--ntasks-per-node", 1, "--output", "slurm-%j.out"]
            jobs.append(own.ask(*words, f"{run}.sh", SLOW_STEP=slow).strip())
            job, over = jobs[-1], ("COMPLETED", "CANCELLED", "FAILED", "NODE_FAIL", "TIMEOUT")
            return lambda: job_state(own, job) in over

        start_slurm(own)
        own.stack.callback(cancel_all, own)
        row = tried(own, "slurm", start, lambda run: own.ask("scancel", jobs[-1]))
        row["requeued"] = requeued(own, start, jobs)
        row["held"] &= row["requeued"]["held"]
        return row


def cancel_all(own: Cluster) -> None:
    """Ends what jobs did not end."""
    with contextlib.suppress(RuntimeError):  # there is none
        own.ask("scancel", "--quiet", "--user", "root")


def start_slurm(own: Cluster) -> None:
    """Munge, the controller on the first host, a node on each; waits until they are idle."""
    room, first = own.room, own.hosts[0]
    nodes = "\n".join(f"NodeName={host.name} NodeAddr={host.address} CPUs=2 State=UNKNOWN" for host in own.hosts)
    text = SLURM.format(first=first.name, address=first.address, room=room, nodes=nodes)
    (room / "slurm.conf").write_text(text, encoding="utf-8")
    (room / "munge.key").write_bytes(os.urandom(128))
    (room / "munge.key").chmod(0o400)
    names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{option}={room}/munge.{name}" for option, name in names.items()]
    own.start(first, "munged", "--foreground", "--force", *options, log="munged.out")
    wait_for("munge", (room / "munge.socket").exists)
    own.start(first, "slurmctld", "-D", log="slurmctld.out")
    for host in own.hosts:
        (room / f"spool-{host.name}").mkdir()
        own.start(host, "slurmd", "-D", "-N", host.name, log=f"slurmd-{host.name}.out")

    def idle() -> bool:
        with contextlib.suppress(RuntimeError):
            return own.ask("sinfo", "-h", "-N", "-o", "%t").split() == ["idle"] * len(own.hosts)
        return False

    wait_for("Slurm's nodes", idle)


def requeued(own: Cluster, start: Start, jobs: list[str]) -> dict[str, Any]:
    """A job that is put back into the queue amid its training starts again by itself, and goes on."""
    ended, run = start("slurm-requeued", str(SLOW)), "slurm-requeued"
    wait_for("five steps", lambda: steps(own.room, run) >= 5 or ended())
    own.ask("scontrol", "requeue", jobs[-1])
    took = wait_for("the job in the queue", lambda: job_state(own, jobs[-1]) == "PENDING")
    at = step_of(own.room, run)
    again = wait_for("the end of the job", ended)
    row = {"saved at step": at, "seconds until it was in the queue": round(took, 1), "then to the end": round(again, 1),
           "largest difference of weights": difference(own.room, run)}  # fmt: skip
    row["held"] = 5 <= at < STEPS and row["largest difference of weights"] <= CLOSE and took < SAVING
    return row


def ssh(room: Path) -> dict[str, Any]:
    """Plain ssh: an sshd on each of two hosts; ended by a SIGTERM to one machine's torchrun."""
    with cluster(room, ["a", "b"]) as own:
        for key in ("key", "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(room / key)], check=True)
        (room / "ssh.conf").write_text(CLIENT.format(room=room), encoding="utf-8")
        (room / "bin" / "ssh").write_text(SSH.format(room=room), encoding="utf-8")
        (room / "bin" / "ssh").chmod(0o755)
        Path("/run/sshd").mkdir(exist_ok=True)
        servers: list[subprocess.Popen[bytes]] = []

        def start(run: str, slow: str) -> Callable[[], bool]:
            while servers:
                end(servers.pop())
            path = own.environment["PYTHONPATH"]
            for host in own.hosts:
                conf = room / f"sshd-{host.name}"
                text = SSHD.format(address=host.address, room=room, path=path, slow=slow)
                conf.write_text(text, encoding="utf-8")
                servers.append(own.start(host, "/usr/sbin/sshd", "-D", "-e", "-f", conf, log=f"{conf.name}.out"))
            time.sleep(1)
            loop = own.start(own.hosts[0], "bash", "-c", here(lines_of_docs()["ssh"], run), log=f"{run}.out")
            return lambda: loop.poll() is not None

        return tried(own, "ssh", start, lambda run: os.kill(torchruns(run)[-1], signal.SIGTERM))


def torchruns(run: str) -> list[int]:
    """The processes of torchrun that train a run of this trial, in the order of their start."""
    ids = []
    for process in sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{process}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
            if any(word.endswith("/torchrun") for word in words[:2]) and run in words and NET in words:
                ids.append(process)
    return ids


def kubernetes(room: Path) -> dict[str, Any]:
    """What the pods of an indexed Job see; the first one's name comes last. Ended as pods are: SIGTERM to each."""
    names = [f"train-{index}" for index in range(4)]
    with cluster(room, names, "{}.train.default.svc.cluster.local", "{}.train") as own:
        pods: list[subprocess.Popen[bytes]] = []

        def start(run: str, slow: str) -> Callable[[], bool]:
            known = [(host.names, host.names.read_text(encoding="utf-8")) for host in own.hosts[1:]]
            for path, text in known:  # the headless service does not name the first pod yet
                later = "\n".join(line for line in text.split("\n") if "train-0" not in line)
                path.write_text(later, encoding="utf-8")
            words = ["bash", "-c", f"exec {here(lines_of_docs()['kubernetes'], run)}"]
            pods[:] = [own.start(host, *words, log=f"{run}.out", SLOW_STEP=slow) for host in own.hosts[1:]]
            time.sleep(8)
            for path, text in known:
                path.write_text(text, encoding="utf-8")
            pods.append(own.start(own.hosts[0], *words, log=f"{run}.out", SLOW_STEP=slow))
            return lambda: all(pod.poll() is not None for pod in pods)

        def stop(run: str) -> None:
            for pod in pods:
                os.kill(pod.pid, signal.SIGTERM)

        return tried(own, "kubernetes", start, stop)


WAYS = {"slurm": slurm, "ssh": ssh, "kubernetes": kubernetes}


def set_up(path: Path) -> None:
    """A dataset, a net, one process's run, and the patch that makes steps slow."""
    photos, random = path / "photos", np.random.default_rng(0)
    for label in "abcd":
        (photos / label).mkdir(parents=True)
        for number in range(20):
            Image.fromarray(random.integers(0, 255, (80, 80, 3), dtype=np.uint8)).save(photos / label / f"{number}.jpg")
    alexnet.prepare(photos, path / "dataset", size=72, val_fraction=0.25)
    (path / "patch").mkdir()
    (path / "bin").mkdir()
    (path / "patch" / "sitecustomize.py").write_text(PATCH, encoding="utf-8")
    smooth = Path(__file__).with_name("small.toml").read_text(encoding="utf-8")
    for old, new in SMOOTH:
        smooth = smooth.replace(old, new)
    (path / NET).write_text(smooth, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(alexnet.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    words = here("python -m alexnet train dataset run", "alone").split()[1:]
    subprocess.run([sys.executable, *words], cwd=path, env=environment, check=True, stdout=subprocess.DEVNULL)


def versions() -> Mapping[str, str]:
    """Of what is tried."""
    said = {"slurm": ["slurmctld", "-V"], "ssh": ["ssh", "-V"]}
    outputs = {name: subprocess.run(words, capture_output=True, text=True) for name, words in said.items()}
    return {name: (output.stdout + output.stderr).strip() for name, output in outputs.items()}


def main() -> int:
    parser = harness.parser(__doc__)
    parser.add_argument("--only", default=",".join(WAYS), help="some of the ways, with commas")
    parser.add_argument("--keep", help="a folder for all that is written, which stays")
    asked = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        room = Path(asked.keep or folder)
        room.mkdir(exist_ok=True)
        set_up(room)
        for name in asked.only.split(","):
            try:
                rows[name] = WAYS[name](room)
            except RuntimeError as error:
                rows[name] = {"held": False, "error": str(error)}
                harness.note(name, error)
            rows[name]["command"] = lines_of_docs()[name].strip()
    harness.emit({**versions(), "gpus": 0, "ways": rows})
    return 0 if all(row["held"] for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
