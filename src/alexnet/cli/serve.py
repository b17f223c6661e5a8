"""The command that serves a run: a page in the browser, and an API."""

import dataclasses
import os
import re
import secrets
import socket
import sys
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from alexnet.cli.options import Json, OfCheckpoint, OnDevice
from alexnet.cli.streams import say, warn, write_json
from alexnet.errors import UsageError, check_number
from alexnet.files import mistakes

if TYPE_CHECKING:
    from alexnet.web.served import Ready

TOKEN = "ALEXNET_TOKEN"  # of the environment


@dataclasses.dataclass(frozen=True)
class Serve(OfCheckpoint, OnDevice, Json):
    """Serve a run as a page in the browser, with an API for programs."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """A trained or imported run."""

    other: Positional[Annotated[str, arg(metavar="RUN2")]] = ""
    """Another run, whose answers stand beside the first's (default: none)."""

    dataset: Annotated[str | None, arg(metavar="DATASET")] = None
    """Dataset whose validation images are the page's examples (default: the one that the run was trained on)."""

    index: Annotated[str | None, arg(metavar="INDEX")] = None
    """Index of images to search by picture, made with this run by `alexnet index` (default: none)."""

    host: Annotated[str, arg(metavar="ADDRESS")] = "127.0.0.1"
    """Address of this machine to listen on. The default can be reached from this machine alone; 0.0.0.0 from every
    machine on its networks."""

    port: int = 2012
    """Port to listen on; 0 takes a free one."""

    token: bool = False
    """Answer only requests that show a token: that of the environment's ALEXNET_TOKEN, or one made at the start. The
    address that is printed has it."""

    precision: Literal["auto", "float32", "bf16", "fp16", "int8"] = "auto"
    """Precision of matrix products and convolutions. auto: bf16 where the machine is fast at it. int8: the weights of
    the fully connected layers are rounded to int8; the rest is as with auto."""

    def __call__(self) -> int:
        try:
            import fastapi  # noqa: F401  (before the run is read, not after)
            import uvicorn  # noqa: F401
        except ImportError as error:
            raise UsageError("serving needs FastAPI and uvicorn: pip install 'alexnet[web]'") from error
        from alexnet import machine
        from alexnet.web.server import bound_socket, serve

        check_number("--port", self.port, 0, 65535)
        mistakes.check_order("serve", ("run", self.run), *([("run", self.other)] if self.other else []))
        machine.set_up()
        listener = bound_socket(self.host, self.port)  # a port that is taken is said before the weights are read
        runs = [self._ready(path) for path in (self.run, self.other) if path]
        if self.index is not None:
            from alexnet.web.similar import Similar

            runs[0] = runs[0]._replace(similar=Similar(self.index, runs[0].classifier))
        token = _token() if self.token else None
        serve(runs, listener, self.host, token, lambda server: self._announce(listener, token))
        if not self.json:
            say("stopped")
        return 0

    def _ready(self, path: str) -> "Ready":
        """A run with the dataset that its examples are from."""
        from alexnet import machine
        from alexnet.evaluation.classifier import load
        from alexnet.figures.dataset import NoImages, dataset_of
        from alexnet.web.served import Ready

        run = load(path, self.checkpoint, machine.choose_device(self.device), self.precision)
        try:
            return Ready(run, dataset_of(run, self.dataset))
        except NoImages as error:
            warn(f"note: no examples: {error}")
            return Ready(run, None)

    def _announce(self, listener: socket.socket, token: str | None) -> None:
        """Says where the page is, and who can reach it."""
        from alexnet.web.guards import is_loopback

        port = listener.getsockname()[1]
        everywhere = self.host in ("0.0.0.0", "::")
        host = socket.gethostname() if everywhere else self.host
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        if self.json:
            write_json({"run": self.run, "other": self.other or None, "address": address, "token": token}, None)
            sys.stdout.flush()
        else:
            runs = " and ".join(filter(None, (self.run, self.other)))
            say(f"{runs}: {address}{f'#token={token}' if token else ''} (Ctrl-C stops it)")
        if not is_loopback(self.host):
            who = "every machine on this one's networks" if everywhere else f"every machine that reaches {self.host}"
            warn(f"note: {who} can ask it{'' if token else '; --token keeps others out'}. The webcam works only over "
                 f"https or at localhost: ssh -L {port}:localhost:{port} brings the page there")  # fmt: skip


def _token() -> str:
    """That of the environment, or one made now. Raises ``UsageError`` for one that no client could show."""
    token = os.environ.get(TOKEN) or secrets.token_urlsafe(16)
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", token):
        raise UsageError(f"{TOKEN}: must be of letters, digits and . _ ~ + / - without blanks, as HTTP has tokens")
    return token
