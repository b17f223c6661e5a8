"""Who may ask: programs of this machine, its own page, those who know the token. Nobody else's page."""

import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from alexnet import files

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/", "/page.css", "/page.js", "/healthz")  # that need no token: they say nothing of the run
HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
        b"form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
]


class Guard:
    """Lets requests through that may ask, and gives every answer the headers that keep a browser strict.

    A page on the web can make its visitor's browser ask a server on that visitor's machine: by its address, which the
    ``Origin`` shows, or by a name of its own that is made to lead here (DNS rebinding), which the ``Host`` shows.

    Args:
        app: what is guarded.
        names: of this server, as a ``Host`` may say them; addresses need not be among them.
        token: that must come as ``Authorization: Bearer``, or None.
    """

    def __init__(self, app: App, names: Collection[str], token: str | None = None):
        self.app, self.names, self.token = app, frozenset(names), token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        refusal = self._refusal(scope)
        if refusal:
            return await _refuse(send, *refusal)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        return await self.app(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason, or None."""
        headers = scope["headers"]
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._is_own(_name_of(hosts[0])):
            return 421, "this server has no such name; ask it by its address or as localhost"
        values = {name: value.decode("latin-1") for name, value in headers}
        origin, site = values.get(b"origin"), values.get(b"sec-fetch-site", "none")
        if origin is not None and origin.partition("://")[2].lower() != hosts[0].lower():
            return 403, "another page may not ask this server"
        navigates = scope["path"] == "/" and values.get(b"sec-fetch-mode") == "navigate"
        if site not in ("same-origin", "none") and not navigates:
            return 403, "another page may not ask this server"
        if self.token and scope["path"] not in OPEN:
            shown = values.get(b"authorization", "").encode()
            if not hmac.compare_digest(shown, f"Bearer {self.token}".encode()):
                return 401, "this server asks for its token: Authorization: Bearer TOKEN"
        return None

    def _is_own(self, name: str) -> bool:
        """Whether a host's name is this server's, or an address: only a name can be made to lead elsewhere."""
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self.names
        return True


def own_names(host: str) -> set[str]:
    """Names by which a server on an address or a name of this machine may be called."""
    names = {"localhost", host.lower()}
    if not is_loopback(host):
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return names


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _name_of(host: str) -> str:
    """A ``Host`` without its port, in small letters."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


async def _refuse(send: Send, status: int, reason: str) -> None:
    content = files.to_json({"detail": reason}, indent=None).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode()), *HEADERS]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
