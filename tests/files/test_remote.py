"""Remote paths without a server of S3: a web server that misbehaves, memory:// to write to, addresses with secrets."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from alexnet import AlexNetError, Dataset, files, load, prepare
from alexnet.errors import UsageError, without_secrets
from alexnet.files import ranges, remote
from alexnet.files.places import note_origin
from tests.files.hostile import Hostile

pytest.importorskip("aiohttp")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ALEXNET_REMOTE_TIMEOUT", "2")
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.01)
    return tmp_path / "cache"


@pytest.fixture
def web(dataset: Dataset) -> Iterator[Hostile]:
    """The small dataset on a web server."""
    server = Hostile(Path(dataset.path))
    yield server
    server.close()


@pytest.mark.parametrize("known", [True, False], ids=["ranges", "no ranges"])
def test_a_dataset_on_a_web_server(dataset, web, known, monkeypatch):
    monkeypatch.setattr(ranges, "RANGE", 50_000)
    with web.being(ranges=known):
        opened = Dataset(f"http://{web.address}")
        assert opened.fingerprint == dataset.fingerprint and (opened.labels == dataset.labels).all()
        assert not web.fetched(".arrow")
        assert all((opened.image(row) == dataset.image(row)).all() for row in range(len(dataset)))
        asked = [span for _, path, span in web.seen if path.endswith("train-00000.arrow") and span]
        assert len(asked) == (-(-Path(dataset.path, "train-00000.arrow").stat().st_size // 50_000) if known else 1)


@pytest.mark.parametrize("faults", [{"fail_every": 2}, {"cut_after": 40_000, "cuts": 3}, {"speed": 1e6}], ids=str)
def test_a_web_server_that_misbehaves(dataset, web, faults, monkeypatch):
    monkeypatch.setattr(ranges, "RANGE", 50_000)
    with web.being(**faults):
        assert (Dataset(f"http://{web.address}").image(0) == dataset.image(0)).all()


def test_a_failing_web_server_is_not_taken_for_an_empty_one(dataset, web, alexnet):
    with web.being(refuse="dataset.json"):
        status, _, err = alexnet("info", f"http://{web.address}")
    assert status == 1 and "for all that it was tried again: 500" in err and err.count("\n") == 1
    status, _, err = alexnet("info", f"http://{web.address}/nothing")
    assert status == 2 and "no dataset there (no such objects)" in err


def test_a_web_server_that_stalls_ends_in_bounded_time(web, alexnet, monkeypatch):
    monkeypatch.setenv("ALEXNET_REMOTE_TIMEOUT", "0.2")
    with web.being(stall_after=1000):
        status, _, err = alexnet("info", f"http://{web.address}")
    assert status == 1 and "no answer within 0.2 s (ALEXNET_REMOTE_TIMEOUT)" in err


def test_web_servers_are_not_written_to(alexnet, dataset, small, pictures):
    for command in (["train", dataset.path, "https://host/run", *small], ["prepare", pictures, "https://host/ds"]):
        status, _, err = alexnet(*command)
        assert status == 2 and "https://host/" in err and "can be read from there but not written" in err


def test_a_file_is_read_here_and_there(tmp_path, web, monkeypatch):
    content = np.random.default_rng(1).bytes(300_000)
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.bin").write_bytes(content)
    server = Hostile(tmp_path / "web")
    monkeypatch.setattr(ranges, "BLOCK", 1 << 12)
    file = files.open_read(f"http://{server.address}/a.bin")
    draws = np.random.default_rng(2)
    for _ in range(50):
        start, count = int(draws.integers(0, 300_000)), int(draws.integers(0, 9000))
        file.seek(start)
        assert file.read(count) == content[start : start + count]
    file.seek(-7, os.SEEK_END)
    assert file.read() == content[-7:] and file.tell() == 300_000
    file.seek(0)
    server.seen.clear()
    assert file.read() == content and len(server.seen) <= 8
    server.close()


def test_an_archive_is_streamed_once_by_all_threads(tmp_path, pictures, monkeypatch):
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        archive.add(pictures, "photos")
    server = Hostile(tmp_path)
    monkeypatch.setattr(ranges, "RANGE", 1 << 15)
    monkeypatch.setattr(ranges, "BLOCK", 1 << 10)
    made = prepare(f"http://{server.address}/photos.tar", tmp_path / "there", size=64, workers=4)
    assert made.fingerprint == prepare(tmp_path / "photos.tar", tmp_path / "here", size=64).fingerprint
    spans = [span.removeprefix("bytes=").split("-") for _, _, span in server.seen if span]
    fetched = sum(int(end) - int(start) + 1 for start, end in spans)
    assert fetched < 4 * (tmp_path / "photos.tar").stat().st_size  # twice: what is in it, then the pictures
    server.close()


def test_a_run_is_written_read_and_resumed_without_a_disk_of_its_own(alexnet, dataset, small, own_cache, tmp_path):
    url = f"memory://{tmp_path.name}/run"
    status, out, _ = alexnet("train", dataset.path, url, *small)
    assert status == 0 and url in out and str(own_cache) not in out
    assert load(url).run.path == url and load(url, "best").run.step > 0
    names = {name for name in remote.listing(url) if not name.startswith("checkpoints/")}
    assert names == {
        "run.json",
        "recipe.json",
        "preparation.safetensors",
        "metrics.jsonl",
        "timings.jsonl",
        "curve.png",
    }
    assert not list((own_cache / "work").iterdir())  # all of it is where it belongs
    assert alexnet("verify", url)[0] == 0 and alexnet("evaluate", url, dataset.path)[0] == 0
    fs = fsspec.filesystem("memory")
    weights = next(name for name in remote.listing(url) if "last" in name and name.endswith("weights.safetensors"))
    fs.pipe_file(f"/{tmp_path.name}/run/{weights}", b"x" + remote.read_all(f"{url}/{weights}")[1:])
    status, _, err = alexnet("evaluate", url, dataset.path)
    assert status == 1 and f"{url}/{weights}: damaged (its SHA-256 differs" in err
    fs.rm_file(f"/{tmp_path.name}/run/run.json")
    status, _, err = alexnet("evaluate", url, dataset.path)
    assert status == 1 and f"{url}/run.json: missing" in err


def test_a_folder_of_something_else_is_left_alone(alexnet, dataset, small, pictures, tmp_path):
    url = f"memory://{tmp_path.name}/photos"
    fsspec.filesystem("memory").put(str(pictures), f"/{tmp_path.name}/photos", recursive=True)
    before = remote.listing(url)
    for command in (["train", dataset.path, url, *small], ["prepare", pictures, url]):
        status, _, err = alexnet(*command)
        assert status == 2 and f"{url}: is a folder of 60 images" in err
    assert set(remote.listing(url)) == set(before)


SECRETS = (
    "https://user:hunter2@host/ds",
    "s3://key:hunter2@bucket/ds",
    "https://host/ds?X-Amz-Signature=hunter2&X-Amz-Date=1",
    "https://host/a.tar?sv=2&sig=hunter2",
    "https://host/a.tar?access_token=hunter2",
    "simplecache::https://user:hunter2@host/a",
)


@pytest.mark.parametrize("address", SECRETS)
def test_an_address_with_a_secret_is_refused_without_it(address):
    with pytest.raises(UsageError) as refused:
        files.is_remote(address)
    assert "hunter2" not in str(refused.value) and "AWS_PROFILE" in str(refused.value)
    assert "hunter2" not in without_secrets(f"cannot open {address}: it's gone")
    assert "hunter2" not in str(AlexNetError(f"{address}: no")) and "hunter2" not in files.shown(
        f"see {address}, there"
    )


def test_addresses_without_secrets_are_let_alone():
    for address in ("s3://bucket/a@b/c", "https://host/a?download=1", "hf://datasets/u/n@main/x", "zip::s3://b/a.zip"):
        if "@" not in address or address.startswith("https"):
            assert files.is_remote(address)
        assert without_secrets(f"{address}: no") == f"{address}: no"
    assert not files.is_remote("C:\\photos") and not files.is_remote("/a/b?sig=1")


def test_copies_are_called_by_what_they_are_copies_of(own_cache):
    copy = files.work_place("s3://bucket/runs/my run!")
    note_origin(copy, "s3://bucket/runs/my run!")
    assert copy.is_relative_to(own_cache)
    for path, called in ((copy, ""), (copy / "run.json", "/run.json"), (f"{copy}-longer", "-longer")):
        assert files.named(f"{path}: gone") == f"s3://bucket/runs/my run!{called}: gone"
    assert files.named(f"{own_cache}/shards/x") == f"{own_cache}/shards/x"


@pytest.mark.parametrize(("name", "value"), [("ALEXNET_REMOTE_TIMEOUT", "soon"), ("ALEXNET_REMOTE_TIMEOUT", "-1")])
def test_a_variable_that_cannot_be_meant(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"{name}={value}: give seconds"):
        files.exists("memory://x")


def test_a_cache_that_cannot_be_written_is_said(web, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ALEXNET_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="set ALEXNET_CACHE to a folder that you may write to"):
        Dataset(f"http://{web.address}").image(0)
