"""Serves a run over HTTP: a socket, uvicorn, and clients that are cut where they are slow."""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Sequence

import numpy as np
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from alexnet.errors import AlexNetError, UsageError
from alexnet.web.api import app_of
from alexnet.web.batcher import Probabilities
from alexnet.web.guards import Guard, own_names
from alexnet.web.served import Ready, served
from alexnet.web.uploads import PATIENCE

MOST_CONNECTIONS, BACKLOG = 512, 128


class Impatient(H11Protocol):
    """uvicorn's protocol; it cuts a client that does not send a request, or does not take an answer, in ``PATIENCE``.

    While a request is with the application, that has a limit of its own for the body.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As uvicorn's; begins to watch."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._watch()

    def on_response_complete(self) -> None:
        """As uvicorn's; from here on it is the client's turn."""
        self._since = self.loop.time()
        super().on_response_complete()

    def _watch(self) -> None:
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            return
        theirs = self.cycle is None or self.cycle.response_complete or self.flow.write_paused
        if theirs and self.loop.time() - self._since > PATIENCE:
            self.transport.abort()
        else:
            self.loop.call_later(PATIENCE / 4, self._watch)


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that listens soon.

    Args:
        host: an address or a name of this machine.
        port: 0 takes a free one.

    Raises:
        UsageError: no such address here.
        AlexNetError: the port is taken, or not for this user.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"--host {host}: no address of that name ({error.strerror or error})") from error
    try:
        if hasattr(socket, "SO_REUSEADDR") and not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows' would share it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AlexNetError(f"--port {port}: another program has it; give another (0 takes a free one)") from error
        if error.errno == errno.EACCES:
            raise AlexNetError(f"--port {port}: is not for this user; give one above 1023") from error
        raise UsageError(f"--host {host}: is no address of this machine ({error.strerror})") from error
    return listener


def serve(
    runs: Sequence[Ready],
    listener: socket.socket,
    host: str = "127.0.0.1",
    token: str | None = None,
    ready: Callable[[uvicorn.Server], None] = lambda server: None,
) -> None:
    """Serves until the process is asked to end (Ctrl-C, SIGTERM), or ``ready``'s server is.

    Args:
        runs: what is served, one or two; nobody else may use them meanwhile.
        listener: as ``bound_socket`` gives it; closed at the end.
        host: what it was bound to; its names are those a request may be for.
        token: that requests must show, or None.
        ready: called with the server when all is loaded and it listens.

    Raises:
        UsageError: one run twice.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # a bad request is no news
    with contextlib.closing(listener), served(runs) as content:
        for run in content.values():
            gray = np.full((run.classifier.preprocessing.size,) * 2 + (3,), 128, np.uint8)
            run.batcher.ask(Probabilities(), gray).result()  # so that the first client waits for nothing
        config = uvicorn.Config(
            Guard(app_of(content), own_names(host), token),
            http=Impatient,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            h11_max_incomplete_event_size=16 << 10,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        listener.listen(BACKLOG)
        ready(server)
        with contextlib.suppress(KeyboardInterrupt):
            server.run([listener])
