"""A small run that is served, on a free port, for all tests of the server."""

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from alexnet import Recipe, cli, load, train
from alexnet.data.dataset import Dataset
from alexnet.search.make import make_index
from alexnet.web.served import Ready
from alexnet.web.server import bound_socket, serve
from alexnet.web.similar import Similar


@pytest.fixture(scope="session")
def run(dataset: Dataset, net_file: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small net after a few steps, to be read only."""
    path = tmp_path_factory.mktemp("served") / "run"
    options = ["--net", net_file, "--crop-size", "48", "--batch-size", "8", "--epochs", "2"]
    assert cli.main(["train", str(dataset.path), str(path), *options]) == 0
    return path


@pytest.fixture(scope="session")
def other(dataset: Dataset, net_file: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another run of the same net, to be read only."""
    path = tmp_path_factory.mktemp("others") / "other"
    train(dataset, path, Recipe(net=net_file, crop_size=48, batch_size=8, epochs=1, seed=9), show=False)
    return path


class Client:
    """Asks a server, a connection a request."""

    def __init__(self, port: int):
        self.port = port

    def __call__(
        self, path: str, body: bytes | None = None, method: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in small letters, content; a header ``sec_fetch_site`` is ``sec-fetch-site``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method or ("GET" if body is None else "POST"), path, body, named)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def json(self, path: str, body: bytes | None = None, **headers: str) -> Any:
        """The content of a good answer."""
        status, _, content = self(path, body, **headers)
        assert status == 200, content
        return json.loads(content)


@contextlib.contextmanager
def serving(
    run: Path,
    dataset: Dataset | None,
    token: str | None = None,
    index: Path | None = None,
    other: Path | None = None,
) -> Iterator[Client]:
    """A server in a thread of this process, until the block ends."""
    listener = bound_socket("127.0.0.1", 0)
    servers: list[uvicorn.Server] = []
    ready = threading.Event()
    classifier = load(run)
    runs = [Ready(classifier, dataset, Similar(str(index), classifier) if index else None)]
    if other:
        runs.append(Ready(load(other), dataset))
    thread = threading.Thread(
        target=lambda: serve(
            runs, listener, token=token, ready=lambda server: (servers.append(server), ready.set())
        ),
    )  # fmt: skip
    thread.start()
    assert ready.wait(60)
    try:
        yield Client(listener.getsockname()[1])
    finally:
        servers[0].should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def index(run: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the pictures, to be read only."""
    path = tmp_path_factory.mktemp("indexed") / "index"
    make_index(load(run), pictures, path)
    return path


@pytest.fixture(scope="session")
def client(run: Path, dataset: Dataset, index: Path) -> Iterator[Client]:
    """Asks the run's server, which has an index."""
    with serving(run, dataset, index=index) as asks:
        yield asks
