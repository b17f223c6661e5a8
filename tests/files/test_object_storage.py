"""Datasets and runs on S3 (moto's server) behind a proxy that fails, cuts, stalls, dawdles and changes things."""

import gc
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from alexnet import AlexNetError, Dataset, Recipe, files, load, prepare, train
from alexnet.errors import UsageError
from alexnet.files import ranges, remote
from tests.files.hostile import Hostile

pytestmark = pytest.mark.net
KEY, SECRET = "AKIATESTOFALEXNET", "wJalrXUtnFEMI-K7MDENG-thesecret"
SHARD_ROWS = 16


def free_port() -> int:
    with socket.socket() as room:
        room.bind(("127.0.0.1", 0))
        return room.getsockname()[1]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    """moto's S3 with a bucket, and the hostile proxy before it; the environment leads to it."""
    port, old = free_port(), dict(os.environ)
    log = open(tmp_path_factory.mktemp("moto") / "log", "wb")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=log, stderr=log)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.05)
    hostile = Hostile(f"127.0.0.1:{port}")
    os.environ |= {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{hostile.address}",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    remote.connection("s3://bucket")[0].mkdir("bucket")
    yield hostile
    hostile.close()
    server.kill()
    server.wait()
    os.environ.clear()
    os.environ |= old


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: Hostile) -> str:
    """A folder in the bucket for one test, which has a cache of its own."""
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.02)
    proxy.calm()
    return f"s3://bucket/{tmp_path.name}"


@pytest.fixture(scope="module")
def source(pictures: Path, tmp_path_factory: pytest.TempPathFactory, proxy: Hostile) -> tuple[Dataset, str]:
    """The small pictures as a local dataset of several shards, and the same in the bucket."""
    local = prepare(pictures, tmp_path_factory.mktemp("local") / "ds", size=64, format="jpeg", shard_rows=SHARD_ROWS)
    put(Path(local.path), "s3://bucket/shared/ds")
    return local, "s3://bucket/shared/ds"


def put(folder: Path, url: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            remote.write(f"{url}/{path.relative_to(folder).as_posix()}", path)


def contents(url: str) -> dict[str, bytes]:
    return {name: remote.read_all(f"{url}/{name}") for name in remote.listing(url)}


def local_contents(folder: Path | str) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def pixels(dataset: Dataset) -> np.ndarray:
    return np.stack([dataset.image(row) for row in range(len(dataset))])


def test_from_pictures_to_an_export_and_back_as_locally(alexnet, pictures, small, tmp_path, place):
    """The whole way on S3 gives the bytes that it gives on a disk; what holds no clock time is compared."""
    put(pictures, f"{place}/pictures")
    for root, source in ((str(tmp_path), pictures), (place, f"{place}/pictures")):
        assert alexnet("prepare", source, f"{root}/ds", "--size", 64)[0] == 0
        status, out, _ = alexnet("train", f"{root}/ds", f"{root}/run", *small, "--keep-every", 1)
        assert status == 0 and f"{root}/run: 3 epochs" in out
    here, there = local_contents(tmp_path / "ds"), contents(f"{place}/ds")
    assert {n: b for n, b in here.items() if n != "prepare.json"} == {
        n: b for n, b in there.items() if n != "prepare.json"
    }
    here, there = local_contents(tmp_path / "run"), contents(f"{place}/run")
    assert set(here) == set(there)
    same = [name for name in here if not name.startswith(("timings", "run.json", "recipe", "curve"))]
    assert [name for name in same if here[name] != there[name]] == [] and len(same) > 10
    run, dataset, image = f"{place}/run", f"{place}/ds", f"{place}/pictures/red/003.jpg"
    for command in (
        ["info", run], ["info", dataset], ["verify", run], ["verify", dataset], ["summary", run],
        ["evaluate", run, dataset], ["predict", run, image], ["show", run], ["compare", run, tmp_path / "run"],
        ["export", run, f"{place}/hub"], ["import", f"{place}/hub", f"{place}/again"], ["info", f"{place}/again"],
        ["train", dataset, run, *small, "--keep-every", 1], ["evaluate", run, dataset, "--checkpoint", "best"],
        ["train", dataset, f"{place}/tuned", "--from", run, "--epochs", 1, "--batch-size", 8],
        ["train", dataset, f"{place}/dry", "--from", run, "--epochs", 1, "--batch-size", 8, "--dry-run"],
    ):  # fmt: skip
        status, out, err = alexnet(*command)
        assert status == 0, (command, err)
        assert str(tmp_path / "cache") not in out + err, command
    assert not remote.listing(f"{place}/dry")
    local = alexnet("evaluate", tmp_path / "run", tmp_path / "ds", "--json")[1]
    there = json.loads(alexnet("evaluate", run, dataset, "--json")[1])
    same = [key for key, value in json.loads(local).items() if there[key] == value]
    assert {"top1_error", "loss", "images"} <= set(same)
    noted = json.loads(alexnet("info", run, "--json")[1])
    assert noted["run"] == run and len(noted["evaluations"]) == 2  # of the last and the best checkpoint


@pytest.mark.parametrize("faults", [{"fail_every": 2}, {"cut_after": 20_000, "cuts": 3}, {"pause": 0.3}], ids=str)
def test_a_server_that_fails_or_is_slow_does_no_harm(source, place, proxy, faults, monkeypatch):
    local, url = source
    monkeypatch.setattr(ranges, "RANGE", 30_000)
    with proxy.being(**faults):
        assert (pixels(Dataset(url)) == pixels(local)).all()
        if "fail_every" in faults:
            put(Path(local.path), f"{place}/copy")
            assert sum(1 for seen in proxy.seen if seen[0] == "PUT") > len(local_contents(local.path))
    if "fail_every" in faults:
        assert contents(f"{place}/copy") == local_contents(local.path)


@pytest.mark.parametrize("after", [0, 20_000])
def test_a_server_that_stalls_ends_in_bounded_time(source, alexnet, proxy, monkeypatch, after):
    monkeypatch.setenv("ALEXNET_REMOTE_TIMEOUT", "0.3")
    started = time.monotonic()
    with proxy.being(stall_after=after):
        status, _, err = alexnet("verify", source[1])
    assert status == 1 and err.count("\n") == 1 and "no answer within 0.3 s" in err and time.monotonic() - started < 30


def test_without_a_server_it_is_said_in_a_line(alexnet, monkeypatch):
    monkeypatch.setenv("ALEXNET_REMOTE_TIMEOUT", "0.3")
    status, _, err = alexnet("info", f"http://127.0.0.1:{free_port()}/ds")
    assert status == 1 and err.count("\n") == 1 and "for all that it was tried again" in err


def test_a_changed_shard_is_not_used(source, place, alexnet):
    local, _ = source
    put(Path(local.path), f"{place}/ds")
    shard = f"{place}/ds/train-00001.arrow"
    content = bytearray(remote.read_all(shard))
    content[len(content) // 2] ^= 1
    remote.write(shard, bytes(content))
    dataset = Dataset(f"{place}/ds")
    assert len(dataset.labels) == 60 and dataset.image(0).shape == (64, 64, 3)
    with pytest.raises(AlexNetError, match=rf"^{shard}: was changed: its SHA-256 .* dataset.json; [^\n]*$"):
        dataset.image(SHARD_ROWS)
    assert not list(Path(os.environ["ALEXNET_CACHE"]).rglob("*.partial"))


def test_a_shard_that_changes_between_two_reads(source, place, proxy, monkeypatch):
    """Once: it is read again. Ever again: it is said, and never a mixture used."""
    local, _ = source
    put(Path(local.path), f"{place}/ds")
    monkeypatch.setattr(ranges, "RANGE", 10_000)
    content = remote.read_all(f"{place}/ds/train-00000.arrow")
    direct = f"bucket/{place.removeprefix('s3://bucket/')}/ds/train-00000.arrow"
    state = {"gets": 0}

    def change(method: str, path: str) -> None:
        if method == "GET" and path.startswith(f"/{direct}"):
            state["gets"] += 1
            if state["gets"] == 2:
                upstream_put(proxy, direct, content[::-1])
            if state["gets"] > 2 and state["once"]:
                upstream_put(proxy, direct, content)

    state["once"] = 1
    with proxy.being(before=change):
        assert (Dataset(f"{place}/ds").image(0) == local.image(0)).all()
    shutil.rmtree(os.environ["ALEXNET_CACHE"])
    state |= {"once": 0, "gets": 0}
    with proxy.being(before=change), pytest.raises(AlexNetError, match="was changed: its SHA-256"):
        Dataset(f"{place}/ds").image(0)


def upstream_put(proxy: Hostile, path: str, content: bytes) -> None:
    import http.client

    assert isinstance(proxy.upstream, str)
    connection = http.client.HTTPConnection(proxy.upstream)
    connection.request(
        "PUT", f"/{path}", content, {"Authorization": "AWS4-HMAC-SHA256 Credential=x/x/x/s3/aws4_request"}
    )
    assert connection.getresponse().status == 200


def test_labels_and_what_a_dataset_is_without_its_shards(source, proxy, alexnet):
    local, url = source
    with proxy.being():
        dataset = Dataset(url)
        assert (dataset.labels == local.labels).all() and dataset.counts() == local.counts()
        assert dataset.statistics.mean.tolist() == local.statistics.mean.tolist()
        assert alexnet("info", url)[0] == 0
        assert proxy.fetched(".arrow") == [] and not (Path(os.environ["ALEXNET_CACHE"]) / "shards").exists()
        dataset.image(0)
        assert len(set(proxy.fetched(".arrow"))) == 1


def test_shards_are_fetched_once_by_several_processes_and_mapped(source, proxy):
    local, url = source
    code = (
        "import sys, numpy as np; from alexnet import Dataset; d = Dataset(sys.argv[1]);"
        "print(sum(int(d.image(i).sum()) for i in range(len(d))));"
        "print(sum('/cache/shards/' in line for line in open('/proc/self/maps')))"
    )
    with proxy.being(pause=0.05):
        jobs = [
            subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True) for _ in range(3)
        ]
        outs = [job.communicate()[0].split() for job in jobs]
        assert len(proxy.fetched(".arrow")) == len(local.shards)
    total = str(sum(int(local.image(i).sum()) for i in range(len(local))))
    assert outs == [[total, str(len(local.shards))]] * 3


def test_the_cache_is_bounded_and_nothing_in_use_goes(source, monkeypatch, tmp_path):
    local, url = source
    shards = Path(os.environ["ALEXNET_CACHE"]) / "shards"
    largest = max(Path(local.path, shard.file).stat().st_size for shard in local.shards)
    limit = 2 * largest + 100
    monkeypatch.setenv("ALEXNET_CACHE_SIZE", str(limit))

    def held() -> int:
        return sum(path.stat().st_size for path in shards.iterdir() if len(path.name) == 64)

    first, other, name = Dataset(url), Dataset(url), local.shards[0].sha256
    other.image(0)  # in use from now on
    for row in range(len(local)):  # of all shards, one after the other
        assert (first.image(row) == local.image(row)).all()
        assert held() <= limit and (shards / name).exists()
    assert (other.image(0) == local.image(0)).all()
    del other, first
    gc.collect()
    second = Dataset(url)
    second.image(SHARD_ROWS)
    assert not (shards / name).exists() and held() <= limit
    del second
    gc.collect()
    monkeypatch.setenv("ALEXNET_CACHE_SIZE", "1K")
    with pytest.raises(AlexNetError, match=r"ALEXNET_CACHE_SIZE allows.*set ALEXNET_CACHE_SIZE to more"):
        Dataset(url).image(2 * SHARD_ROWS)
    monkeypatch.setenv("ALEXNET_CACHE_SIZE", "many")
    with pytest.raises(UsageError, match="ALEXNET_CACHE_SIZE=many: is no size; give 50GB, say"):
        Dataset(url).image(2 * SHARD_ROWS)


def test_a_dataset_beyond_the_cache_trains_and_is_warned_of(source, small, place, alexnet, monkeypatch, tmp_path):
    local, url = source
    largest = max(Path(local.path, shard.file).stat().st_size for shard in local.shards)
    monkeypatch.setenv("ALEXNET_CACHE_SIZE", str(2 * largest + 100))
    status, _, err = alexnet("train", url, tmp_path / "run", *small)
    assert status == 0 and f"warning: {url}: has " in err and "set ALEXNET_CACHE_SIZE to more" in err
    monkeypatch.delenv("ALEXNET_CACHE_SIZE")
    assert alexnet("train", local.path, tmp_path / "other", *small)[0] == 0
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (tmp_path / "other" / "metrics.jsonl").read_bytes()


def test_a_cached_shard_that_was_changed_is_fetched_again(source, proxy):
    local, url = source
    Dataset(url).image(0)
    path = Path(os.environ["ALEXNET_CACHE"]) / "shards" / local.shards[0].sha256
    path.write_bytes(path.read_bytes()[:-100])
    with proxy.being():
        assert (Dataset(url).image(0) == local.image(0)).all()
        assert len(proxy.fetched("train-00000.arrow")) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_a_full_cache_disk_is_said_with_the_remedy(source, tmp_path, monkeypatch, alexnet):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], check=True)
    try:
        monkeypatch.setenv("ALEXNET_CACHE", str(disk / "cache"))
        local, url = source
        assert (Dataset(url).image(0) == local.image(0)).all()
        assert (pixels(Dataset(url)) == pixels(local)).all()  # what is not in use goes
        gc.collect()
        shutil.rmtree(disk / "cache")
        (disk / "other").write_bytes(bytes(150_000))
        status, _, err = alexnet("verify", url)
        assert status == 1 and err.count("\n") == 1
        assert "make room, or set ALEXNET_CACHE to a folder on another disk" in err
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_killed_training_goes_on_elsewhere_with_the_same_weights(source, small, place, tmp_path, proxy):
    """Killed while it puts a checkpoint up; resumed on a machine that has nothing of it."""
    local, _ = source
    whole = train_command(local.path, tmp_path / "whole", small)
    assert whole.wait() == 0
    job = train_command(local.path, f"{place}/run", [*small, "--epochs", "20"])
    end = time.monotonic() + 60
    while time.monotonic() < end and not files.exists(f"{place}/run/checkpoints"):
        time.sleep(0.02)
    job.kill()
    job.wait()
    assert ".lock" in remote.listing(f"{place}/run")
    whole = train_command(local.path, tmp_path / "whole", [*small, "--epochs", "20"], folder="twenty")
    assert whole.wait() == 0
    os.environ["ALEXNET_CACHE"] = str(tmp_path / "another")
    again = train_command(local.path, f"{place}/run", [*small, "--epochs", "20"])
    assert again.wait() == 0
    for name in ("checkpoints/last-00000120/weights.safetensors", "checkpoints/last-00000120/state.safetensors"):
        assert remote.read_all(f"{place}/run/{name}") == (tmp_path / "twenty" / name).read_bytes()
    assert remote.read_all(f"{place}/run/metrics.jsonl") == (tmp_path / "twenty" / "metrics.jsonl").read_bytes()
    assert ".lock" not in remote.listing(f"{place}/run")


ELSEWHERE = """
import os, sys
os.environ["ALEXNET_CACHE"] += os.environ["RANK"]
from alexnet import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def test_two_ranks_of_two_machines_train_and_evaluate_as_locally(source, small, place, tmp_path):
    """Each rank has a cache of its own, as where they are two machines; the run is written to the bucket, too."""
    local, url = source
    script = tmp_path / "elsewhere.py"
    script.write_text(ELSEWHERE)

    def by_two(*words: object) -> str:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(files.__file__).parents[2])}
        done = subprocess.run(
            [*command, *map(str, words)], env=environment, capture_output=True, text=True, timeout=240
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    for dataset, run in ((local.path, tmp_path / "run"), (url, f"{place}/run")):
        by_two("train", dataset, run, *small, "--parallel", "data", "--quiet")
    for name in ("weights.safetensors", "state.safetensors"):
        name = f"checkpoints/last-00000018/{name}"
        assert remote.read_all(f"{place}/run/{name}") == (tmp_path / "run" / name).read_bytes()
    assert remote.read_all(f"{place}/run/metrics.jsonl") == (tmp_path / "run" / "metrics.jsonl").read_bytes()
    assert ".lock" not in remote.listing(f"{place}/run")
    here, there = (
        json.loads(by_two("evaluate", run, dataset, "--json", "--quiet"))
        for dataset, run in ((local.path, tmp_path / "run"), (url, f"{place}/run"))
    )
    same = [key for key, value in here.items() if there[key] == value]
    assert {"top1_error", "loss", "images"} <= set(same)
    for rank in (0, 1):
        cached = sum(path.stat().st_size for path in (tmp_path / f"cache{rank}").rglob("*") if path.is_file())
        assert cached >= sum(path.stat().st_size for path in Path(local.path).glob("*.arrow")), rank


def train_command(dataset: str, run: Any, options: list[str], folder: str = "") -> subprocess.Popen:
    run = Path(run).with_name(folder) if folder else run
    command = [sys.executable, "-m", "alexnet", "train", dataset, str(run), *options, "--threads", "1"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_checkpoint_that_is_not_whole_is_none(source, small, place, alexnet, proxy):
    """Whatever of a checkpoint could not be put up: the one before is there, and the end says that it is not."""
    local, _ = source
    assert alexnet("train", local.path, f"{place}/run", *small)[0] == 0
    before = remote.listing(f"{place}/run")
    with proxy.being(refuse="/checkpoints/last-00000024/checkpoint.json"):
        status, _, err = alexnet("train", local.path, f"{place}/longer", *small, "--epochs", 4)
    assert status == 1 and "All of it is in this machine's cache; the same command puts it up" in err
    assert load(f"{place}/run").run.step == 18 and remote.listing(f"{place}/run") == before
    assert not [name for name in remote.listing(f"{place}/longer") if name.endswith("24/checkpoint.json")]
    status, _, err = alexnet("train", local.path, f"{place}/longer", *small, "--epochs", 4)
    assert status == 0 and "finished already" in err and load(f"{place}/longer").run.step == 24


def test_two_jobs_on_one_folder(source, small, place, alexnet, monkeypatch):
    local, _ = source
    owner = {"host": "elsewhere", "process": 7, "since": time.time() - 60, "id": "x", "at": time.time()}
    remote.write(f"{place}/run/.lock", json.dumps(owner).encode())
    status, _, err = alexnet("train", local.path, f"{place}/run", *small)
    assert status == 1 and re.search(
        rf"{place}/run: process 7 on elsewhere \(since .*\) is writing there; .* known in \d+ s", err
    )
    assert set(remote.listing(f"{place}/run")) == {".lock"}
    remote.write(f"{place}/run/.lock", json.dumps({**owner, "at": time.time() - 1000}).encode())
    status, _, err = alexnet("train", local.path, f"{place}/run", *small)
    assert status == 0 and "process 7 on elsewhere" in err and "taking over" in err
    assert ".lock" not in remote.listing(f"{place}/run")


def test_parts_of_a_dataset_from_two_machines(pictures, place, tmp_path, monkeypatch, source, alexnet):
    local, _ = source
    options = {"size": 64, "format": local.format, "shard_rows": SHARD_ROWS}
    assert alexnet("prepare", pictures, f"{place}/ds", "--size", 64, "--part", "1/2")[0] == 0
    assert "dataset.json" not in remote.listing(f"{place}/ds")
    assert alexnet("evaluate", "run", f"{place}/ds")[0] in (1, 2)
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "another"))
    assert alexnet("prepare", pictures, f"{place}/ds", "--size", 64, "--part", "2/2")[0] == 0
    whole = prepare(pictures, f"{place}/other", **options)
    assert whole.fingerprint == local.fingerprint and whole.labels.tolist() == local.labels.tolist()
    assert Dataset(f"{place}/ds").labels.tolist() == local.labels.tolist()
    assert not [name for name in remote.listing(f"{place}/ds") if "unfinished" in name or "lock" in name]
    status, _, err = alexnet("prepare", pictures, f"{place}/ds", "--size", 48)
    assert status == 2 and err.count("\n") <= 5 and "--size 64 then, 48 now" in err


def test_no_secret_is_written_or_said(source, small, place, alexnet, tmp_path, proxy):
    local, url = source
    said = []
    for command in (
        ["train", url, f"{place}/run", *small], ["info", f"{place}/run", "--json"], ["evaluate", f"{place}/run", url],
        ["export", f"{place}/run", f"{place}/hub"], ["evaluate", f"{place}/nothing", url], ["verify", f"{place}/no"],
    ):  # fmt: skip
        said += alexnet(*command)[1:]
    with proxy.being(refuse="GET"):
        said += alexnet("info", f"{place}/run")[1:]
    bad = [f"https://user:{SECRET}@host/ds", f"https://host/ds?X-Amz-Credential={KEY}&X-Amz-Signature={SECRET}",
           f"s3://{KEY}:{SECRET}@bucket/ds", f"https://host/a.tar?sv=1&sig={SECRET}&token={SECRET}"]  # fmt: skip
    for address in bad:
        for command in (["info", address], ["prepare", address, tmp_path / "x"], ["train", local.path, address],
                        ["train", address, "run"], ["predict", address, address], ["evaluate", "r", address],
                        ["import", address, "x"], ["export", tmp_path, address], ["verify", address],
                        ["train", local.path, "x", "--from", address], ["show", address], ["compare", address, "x"],
                        ["summary", address], ["train", local.path, "x", "--nonsense", address]):  # fmt: skip
            status, out, err = alexnet(*command)
            assert status in (1, 2) and "Traceback" not in err, command
            said += [out, err]
    everything = [text.encode() for text in said]
    everything += contents(f"{place}/run").values()
    everything += contents(f"{place}/hub").values()
    everything += local_contents(tmp_path).values()
    assert not [text for text in everything if SECRET.encode() in text or KEY.encode() in text]


def test_stopped_by_a_signal_it_is_whole_there(source, small, place, tmp_path):
    local, _ = source
    job = train_command(local.path, f"{place}/run", [*small, "--epochs", "400"])
    end = time.monotonic() + 60
    while time.monotonic() < end and not files.exists(f"{place}/run/checkpoints"):
        time.sleep(0.02)
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == 130
    run = load(f"{place}/run").run
    state = safetensors.numpy.load(remote.read_all(f"{place}/run/checkpoints/last-{run.step:08d}/state.safetensors"))
    assert run.step > 0 and len(state) > 3 and ".lock" not in remote.listing(f"{place}/run")


@pytest.mark.slow
def test_training_from_it_is_as_fast_after_the_first_epoch(source, tmp_path, net_file, record_property):
    """Median step of the later epochs, in turns, against the same dataset on the disk; every try is recorded."""
    local, url = source
    tries: list[float] = []
    for _ in range(3):  # a busy machine may be slow at any moment
        seconds: dict[str, list[float]] = {"local": [], "remote": []}
        for name, path in (("local", local.path), ("remote", url)) * 3:
            seconds[name].append(later_epochs(Dataset(path), tmp_path / f"{name}-{len(seconds[name])}", net_file))
            shutil.rmtree(tmp_path / f"{name}-{len(seconds[name]) - 1}")
        tries.append(min(seconds["remote"]) / min(seconds["local"]))
        if tries[-1] <= 1.05:
            break
    record_property("later epochs, remote to local, each try", [round(ratio, 3) for ratio in tries])
    assert min(tries) <= 1.05


def later_epochs(dataset: Dataset, folder: Path, net: str) -> float:
    times: list[float] = []
    recipe = Recipe(net=net, crop_size=48, batch_size=16, epochs=12)
    steps = -(-dataset.splits["train"] // 16)
    train(dataset, folder, recipe, show=False, threads=1, on_step=lambda report: times.append(time.monotonic()))
    gaps = np.diff(times)[steps:]
    return float(np.median(gaps))
