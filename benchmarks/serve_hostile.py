"""Ten thousand hostile requests of some forty kinds to ``alexnet serve``: what they get, and what it costs.

python -m benchmarks.serve_hostile RUN >docs/raw/serve-hostile.json

Every hundredth request is a good photo, whose time is noted. The kinds are those of tests/web/hostile.py.
"""

import asyncio
import collections
import contextlib
import random
import time
from pathlib import Path
from typing import Any

from tests.web.hostile import CUT, HOST, KINDS, post

from benchmarks import harness
from benchmarks.serve import Server, photo

AT_ONCE, GOOD = 8, 100


async def status_of(port: int, request: bytes, leaves: bool = False) -> str:
    """The status of an answer, ``closed`` where there is none; the client may leave when it has sent its request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    line = b""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        writer.write(request)
        await writer.drain()
        if leaves:
            writer.write_eof()
        line = await asyncio.wait_for(reader.readline(), 30)
    writer.close()
    return line.split()[1].decode() if line.startswith(b"HTTP/1.1 ") else "closed"


async def attack(server: Server, count: int) -> dict[str, Any]:
    """Sends them, so many at a time, in an order drawn once."""
    by, content = random.Random(0), photo()
    kinds = [*KINDS] * (count // len(KINDS) + 1)
    by.shuffle(kinds)
    left, statuses, times = collections.deque(kinds[:count]), collections.defaultdict(collections.Counter), []
    good = post(content, HOST + b"Connection: close\r\n")

    async def client() -> None:
        while left:
            kind = left.popleft()
            statuses[kind][await status_of(server.port, KINDS[kind](by), kind in CUT)] += 1
            if len(left) % GOOD == 0:
                begun = time.perf_counter()
                status = await status_of(server.port, good)
                times.append(1e3 * (time.perf_counter() - begun))
                statuses["a good photo"][status] += 1
            if len(left) % 1000 == 0:
                harness.note(f"{len(left):,} left, {server.memory() >> 20} MiB")

    for _ in range(20):
        await status_of(server.port, good)
    before = server.memory()
    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    times.sort()
    return {
        "requests": count,
        "kinds": len(KINDS),
        "memory_before": before,
        "memory_after": server.memory(),
        "memory_most": server.memory("VmHWM"),
        "good_p50_ms": times[len(times) // 2],
        "good_p99_ms": times[int(0.99 * len(times))],
        "alive": server.process.poll() is None,
        "statuses": {kind: dict(counts) for kind, counts in sorted(statuses.items())},
    }


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--count", type=int, default=10_000)
    options = parser.parse_args()
    with Server(options.run) as server:
        harness.emit(asyncio.run(attack(server, options.count)))


if __name__ == "__main__":
    main()
