"""Hostile requests, some of each kind: none gets more than a refusal, and the server goes on answering.

``python -m benchmarks.serve_hostile`` sends ten thousand, and watches memory.
"""

import random
import re
import socket

import pytest

from tests.web.hostile import CUT, KINDS
from tests.web.test_api import FILES


def answer(port: int, request: bytes, leaves: bool) -> bytes:
    """The beginning of what comes back; nothing where the server closes at once, as where its client leaves."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        received = b""
        try:
            connection.sendall(request)
            if leaves:
                connection.shutdown(socket.SHUT_WR)
            while b"\r\n\r\n" not in received and (part := connection.recv(65536)):
                received += part
            length = int(re.findall(rb"content-length: (\d+)", received)[0])
            while len(received.partition(b"\r\n\r\n")[2]) < length and (part := connection.recv(65536)):
                received += part
        except IndexError:  # it closes instead of saying how much it says
            pass
        except ConnectionError:
            pass
        return received


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_requests_get_a_refusal_at_most(kind, client):
    by = random.Random(kind)
    for _ in range(1 if "bomb" in kind else 3):
        received = answer(client.port, KINDS[kind](by), kind in CUT)
        assert received.startswith(b"HTTP/1.1 ") or kind in (*CUT, "no HTTP"), received[:99]
        assert b"root:" not in received and b"secret" not in received and b"<script" not in received
        assert received[9:10] in (b"", b"2", b"4"), received[:99]
    assert client.json("/predict", FILES["photo.jpg"])["top"]
