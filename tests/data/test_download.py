"""Fetching from a server on the loopback: whole, cut, without ranges, wrong, gone."""

import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from alexnet.data import download as module
from alexnet.data.download import PUBLISHED, Published, download
from alexnet.errors import AlexNetError

DATA = bytes(range(256)) * 9000


class Server(http.server.ThreadingHTTPServer):
    """Serves DATA; closes a connection after ``cut`` bytes, knows ranges or not, notes the ranges asked for."""

    cut: int | None = None
    ranges = True
    status: int | None = None
    asked: list[str | None]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.ranges else 0
        if self.server.status:
            self.send_error(self.server.status)
            return
        if start >= len(DATA):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(DATA) - 1}/{len(DATA)}")
        self.send_header("Content-Length", str(len(DATA) - start))
        self.end_headers()
        self.wfile.write(DATA[start : start + (self.server.cut or len(DATA))])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Handler) as serving:
        serving.asked = []
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving
        serving.shutdown()


@pytest.fixture
def url(server, monkeypatch) -> str:
    where = f"http://127.0.0.1:{server.server_address[1]}/things.tar.gz"
    monkeypatch.setitem(PUBLISHED, "things", Published(where, "md5:" + hashlib.md5(DATA).hexdigest(), "for tests"))
    return where


def test_a_whole_file_with_progress_and_only_once(server, url, tmp_path, alexnet):
    seen = []
    path = download("things", tmp_path / "data", progress=lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "data" / "things.tar.gz" and path.read_bytes() == DATA
    assert seen[-1] == (2, 2) and [entry.name for entry in path.parent.iterdir()] == ["things.tar.gz"]
    status, out, _ = alexnet("download", "things", tmp_path / "data")
    assert status == 0 and "alexnet prepare" in out and server.asked == [None]


def test_a_cut_transfer_goes_on(server, url, tmp_path):
    server.cut = 500_000
    assert download("things", tmp_path).read_bytes() == DATA
    assert server.asked == [None, *(f"bytes={n}-" for n in range(500_000, len(DATA), 500_000))]


def test_it_goes_on_in_the_next_call(server, url, tmp_path, monkeypatch):
    server.cut = 700_000
    monkeypatch.setattr(module, "TRIES", 0)
    with pytest.raises(AlexNetError, match="700,000 bytes are kept, the same command goes on"):
        download("things", tmp_path)
    assert not (tmp_path / "things.tar.gz").exists()
    server.cut = None
    monkeypatch.undo()
    PUBLISHED["things"] = Published(url, "md5:" + hashlib.md5(DATA).hexdigest(), "for tests")
    assert download("things", tmp_path).read_bytes() == DATA and server.asked == [None, "bytes=700000-"]
    del PUBLISHED["things"]


def test_a_server_without_ranges_begins_anew(server, url, tmp_path):
    (tmp_path / "things.tar.gz.part").write_bytes(b"some old beginning")
    server.ranges = False
    assert download("things", tmp_path).read_bytes() == DATA


def test_a_whole_part_is_not_fetched_again(server, url, tmp_path):
    (tmp_path / "things.tar.gz.part").write_bytes(DATA)
    assert download("things", tmp_path).read_bytes() == DATA and server.asked == [f"bytes={len(DATA)}-"]


def test_another_checksum_keeps_nothing(server, url, tmp_path, alexnet, monkeypatch):
    monkeypatch.setitem(PUBLISHED, "things", Published(url, "md5:" + "0" * 32, "for tests"))
    status, _, err = alexnet("download", "things", tmp_path)
    assert (
        status == 1
        and "its md5 checksum is" in err
        and "nothing was kept" in err
        and not list(Path(tmp_path).iterdir())
    )
    (tmp_path / "things.tar.gz").write_bytes(b"mine")
    status, _, err = alexnet("download", "things", tmp_path)
    assert status == 2 and "move it away" in err and (tmp_path / "things.tar.gz").read_bytes() == b"mine"


def test_no_server_and_errors_of_one(server, url, tmp_path, alexnet):
    status, _, err = alexnet("download", "things", tmp_path, "--url", "http://127.0.0.1:9/x")
    assert status == 1 and "cannot be fetched" in err and err.strip().count("\n") == 0
    server.status = 404
    status, _, err = alexnet("download", "things", tmp_path)
    assert status == 1 and "404" in err and not list(Path(tmp_path).iterdir())
    assert alexnet("download", "moon", tmp_path)[0] == 2


@pytest.mark.parametrize(("kind", "digits"), [("md5", 32), ("sha1", 40), ("sha256", 64), ("sha256", 8)])
def test_every_kind_of_checksum(server, url, tmp_path, monkeypatch, kind, digits):
    right = hashlib.new(kind, DATA).hexdigest()[:digits]
    for place, digest in (("right", right), ("wrong", right[:-1] + ("0" if right[-1] != "0" else "1"))):
        monkeypatch.setitem(PUBLISHED, "things", Published(url, f"{kind}:{digest}", "for tests"))
        if place == "right":
            assert download("things", tmp_path / place).read_bytes() == DATA
        else:
            with pytest.raises(AlexNetError, match=f"its {kind} checksum is"):
                download("things", tmp_path / place)
            assert not list((tmp_path / place).iterdir())


def test_what_is_published():
    data = {*("imagenette", "imagenette-320", "imagenette-160", "cifar10", "cifar10-binary", "tiny-imagenet")}
    nets = {*("torchvision", "caffe", "caffenet", "onnx-alexnet", "onnx-caffenet")}
    assert set(PUBLISHED) == data | {f"{net}-weights" for net in nets}
    digits = {"md5": (32,), "sha1": (40,), "sha256": (64, 8)}
    for name, each in PUBLISHED.items():
        kind, _, digest = each.checksum.partition(":")
        assert len(digest) in digits[kind] and each.url.endswith(each.file), name
        assert ("alexnet import" in each.next) == name.endswith("-weights"), name
    assert f"-{PUBLISHED['torchvision-weights'].checksum.partition(':')[2]}.pth" in PUBLISHED["torchvision-weights"].url
