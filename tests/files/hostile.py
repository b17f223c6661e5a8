"""A server that misbehaves as told: before moto's S3, or with a folder's files behind it."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

NEVER = 3600.0


class Hostile:
    """A proxy, or a server of files.

    Args:
        upstream: host and port of the server behind it, or a folder whose files it serves.

    Attributes:
        fail_every: answers 500 to each so-many-th request.
        cut_after: ends a reply's connection after so many bytes of its body, ``cuts`` times.
        stall_after: sends nothing more after so many bytes of a body.
        pause: seconds before each reply.
        speed: bytes a second of a body.
        refuse: answers 500 where this is in method and path.
        ranges: whether a server of files knows ranges.
        before: called with method and path before a request is passed on.
        seen: method, path and range of each request.
    """

    def __init__(self, upstream: str | Path):
        self.upstream = upstream
        self.calm()
        handler = type("Handler", (_Handler,), {"hostile": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def calm(self) -> None:
        """Behaves from now on."""
        self.fail_every, self.cut_after, self.cuts, self.stall_after = 0, None, 0, None
        self.pause, self.speed, self.refuse, self.ranges = 0.0, None, None, True
        self.before: Any = None
        self.count = 0
        self.seen: list[tuple[str, str, str]] = []

    @contextmanager
    def being(self, **faults: Any) -> Iterator["Hostile"]:
        """Misbehaves within the block."""
        self.calm()
        vars(self).update(faults)
        try:
            yield self
        finally:
            self.calm()

    def fetched(self, ending: str) -> list[str]:
        """The paths with an ending whose bytes were asked for."""
        return [path for method, path, _ in self.seen if method == "GET" and path.split("?")[0].endswith(ending)]

    def close(self) -> None:
        """Ends."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hostile: Hostile

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is said."""

    def _any(self) -> None:
        hostile = self.hostile
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hostile.seen.append((self.command, self.path, self.headers.get("Range", "")))
        hostile.count += 1
        time.sleep(hostile.pause)
        if hostile.before:
            hostile.before(self.command, self.path)
        refused = hostile.refuse and hostile.refuse in f"{self.command} {self.path}"
        if refused or (hostile.fail_every and hostile.count % hostile.fail_every == 0):
            self._reply(500, {}, b"<Error><Code>InternalError</Code><Message>no</Message></Error>")
            return
        self._reply(*(self._pass_on(body) if isinstance(hostile.upstream, str) else self._file(hostile.upstream)))

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any

    def _pass_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        assert isinstance(self.hostile.upstream, str)
        connection = http.client.HTTPConnection(self.hostile.upstream, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        connection.request(self.command, self.path, body, headers)
        reply = connection.getresponse()
        content = reply.read()
        kept = {
            name: value for name, value in reply.getheaders() if name.lower() not in ("connection", "date", "server")
        }
        if self.command != "HEAD":
            kept = {name: value for name, value in kept.items() if name.lower() != "content-length"}
        connection.close()
        return reply.status, kept, content

    def _file(self, root: Path) -> tuple[int, dict[str, str], bytes]:
        path = root / unquote(urlsplit(self.path).path).lstrip("/")
        if not path.is_file():
            return 404, {}, b"not here"
        content = path.read_bytes()
        wanted = self.headers.get("Range", "")
        headers = {"ETag": f'"{hash(content)}"'}
        if not self.hostile.ranges or not wanted.startswith("bytes="):
            return 200, headers, content
        start, _, end = wanted.removeprefix("bytes=").partition("-")
        piece = content[int(start) : int(end or len(content)) + 1]
        more = {
            "Content-Range": f"bytes {start}-{int(start) + len(piece) - 1}/{len(content)}",
            "Accept-Ranges": "bytes",
        }
        return 206, {**headers, **more}, piece

    def _reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
        hostile = self.hostile
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "content-length" not in {name.lower() for name in headers}:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            if hostile.cut_after is not None and hostile.cuts and len(content) > hostile.cut_after:
                hostile.cuts -= 1
                self.wfile.write(content[: hostile.cut_after])
                self.close_connection = True
            elif hostile.stall_after is not None and len(content) > hostile.stall_after:
                self.wfile.write(content[: hostile.stall_after])
                self.wfile.flush()
                end = time.monotonic() + NEVER
                while hostile.stall_after is not None and time.monotonic() < end:
                    time.sleep(0.05)
                self.close_connection = True
            elif hostile.speed:
                for start in range(0, len(content), 1 << 14):
                    self.wfile.write(content[start : start + (1 << 14)])
                    time.sleep((1 << 14) / hostile.speed)
            else:
                self.wfile.write(content)
        except OSError:
            self.close_connection = True
