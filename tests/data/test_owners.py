"""Two processes at one dataset or one download: the second is told, parts run side by side, a dead one is replaced."""

import hashlib
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from alexnet import AlexNetError, Dataset, prepare
from alexnet.data import download as downloads
from alexnet.data.sources import open_source
from alexnet.errors import Unfinished
from tests.conftest import fill


def content(folder) -> dict[str, str]:
    """The SHA-256 of each file of a dataset."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(folder).iterdir()}


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return fill(tmp_path_factory.mktemp("owners") / "pictures", count=30)


@pytest.fixture(scope="module")
def alone(images, tmp_path_factory) -> Path:
    """The dataset as one process writes it, in six shards."""
    place = tmp_path_factory.mktemp("alone") / "store"
    prepare(images, place, size=32, shard_rows=16)
    return place


class Slow:
    """A source's tree that tells when the first image is read, and waits."""

    def __init__(self, source):
        self.source, self.read = source, source.tree.read
        self.reached, self.go_on = threading.Event(), threading.Event()
        source.tree.read = self.wait

    def wait(self, member):
        self.reached.set()
        assert self.go_on.wait(60)
        return self.read(member)


def test_a_second_prepare_is_told_who_is_there(images, alone, tmp_path):
    slow = Slow(open_source(images))
    first = threading.Thread(
        target=prepare, args=(slow.source, tmp_path / "store"), kwargs={"size": 32, "shard_rows": 16}
    )
    first.start()
    assert slow.reached.wait(60)
    with pytest.raises(AlexNetError, match=r"process \d+ on .* is writing there; wait for it"):
        prepare(images, tmp_path / "store", size=32, shard_rows=16)
    slow.go_on.set()
    first.join()
    assert content(tmp_path / "store") == content(alone)


def test_parts_go_on_side_by_side_and_whichever_ends_last_finishes(images, alone, tmp_path):
    unfinished = []

    def work(number):
        try:
            prepare(images, tmp_path / "store", size=32, shard_rows=16, part=(number, 3), workers=1)
        except Unfinished as left:
            unfinished.append(left)

    threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(unfinished) <= 2 and content(tmp_path / "store") == content(alone)


@pytest.mark.parametrize("part", [(1, 2), (2, 2)])
def test_overlapping_parts_give_the_same_bytes(images, alone, tmp_path, part):
    """Half of the work and all of it at once: each shard is written under names of its writer's own."""
    slow = Slow(open_source(images))
    said = []

    def half():
        try:
            prepare(slow.source, tmp_path / "store", size=32, shard_rows=16, part=part)
        except Unfinished as left:
            said.append(left)

    first = threading.Thread(target=half)
    first.start()
    assert slow.reached.wait(60)
    prepare(images, tmp_path / "store", size=32, shard_rows=16)
    slow.go_on.set()
    first.join()
    assert not said and content(tmp_path / "store") == content(alone)
    assert {problem for _, problem in Dataset(tmp_path / "store").verify()} == {None}


def test_a_killed_prepare_is_said_and_goes_on(images, alone, tmp_path):
    """Killed in the middle of an image: the same command says who was there, and gives the same bytes."""
    code = (
        "import sys, time\nfrom alexnet.data import shards as p\nfrom alexnet.data.prepare import prepare\n"
        "real, calls = p._convert, []\n"
        "def convert(*a):\n    calls.append(1)\n    if len(calls) == 40:\n        print('here', flush=True)\n"
        "        time.sleep(60)\n    return real(*a)\n"
        "p._convert = convert\nprepare(sys.argv[1], sys.argv[2], size=32, shard_rows=16, workers=1)"
    )
    command = [sys.executable, "-c", code, str(images), str(tmp_path / "store")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    said = []
    prepare(images, tmp_path / "store", size=32, shard_rows=16, say=said.append)
    assert len(said) == 1 and f"process {process.pid} on" in said[0] and "taking over" in said[0]
    assert content(tmp_path / "store") == content(alone)


def test_two_downloads_of_one_file(tmp_path, monkeypatch):
    reached, go_on = threading.Event(), threading.Event()

    def fetch(url, partial, progress):
        reached.set()
        assert go_on.wait(60)
        partial.write_bytes(b"wrong")

    monkeypatch.setattr(downloads, "_fetch", fetch)
    ended = []

    def first():
        try:
            downloads.download("cifar10", tmp_path)
        except AlexNetError as error:
            ended.append(str(error))

    thread = threading.Thread(target=first)
    thread.start()
    assert reached.wait(60)
    with pytest.raises(AlexNetError, match="is writing there"):
        downloads.download("cifar10", tmp_path)
    go_on.set()
    thread.join()
    assert len(ended) == 1 and "checksum" in ended[0]
    until = time.monotonic() + 5
    while any(tmp_path.iterdir()) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(tmp_path.iterdir())
