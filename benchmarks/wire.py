"""A wire between two namespaces, with a delay and a rate: a TUN device in each, and this process carries the packets.

    python benchmarks/wire.py FILE SPACE DEVICE ADDRESS SPACE DEVICE ADDRESS

The file holds milliseconds (one way) and megabits a second. It is read again and again, so both may change.
"""

import collections
import ctypes
import fcntl
import os
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

NEW_NETWORK, TUN_SET, TUN, NO_HEADER = 0x40000000, 0x400454CA, 0x0001, 0x1000  # linux/sched.h, linux/if_tun.h


def tun(space: str, device: str, address: str) -> int:
    """A file of a new TUN device in a namespace: each read or write is a packet."""
    libc, own = ctypes.CDLL("libc.so.6", use_errno=True), os.open("/proc/self/ns/net", os.O_RDONLY)
    other = os.open(f"/run/netns/{space}", os.O_RDONLY)
    libc.setns(other, NEW_NETWORK)
    file = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(file, TUN_SET, struct.pack("16sH", device.encode(), TUN | NO_HEADER))
    libc.setns(own, NEW_NETWORK)
    for words in (f"addr add {address}/24 dev {device}", f"link set {device} mtu 65000 txqueuelen 10000 up"):
        subprocess.run(["ip", "-n", space, *words.split()], check=True)
    return file


def carry(source: int, sink: int, wire: dict[str, float]) -> None:
    """Carries packets one way: each leaves when the wire is free, and arrives a delay later."""
    queue: collections.deque[tuple[float, bytes]] = collections.deque()
    filled = threading.Condition()

    def read() -> None:
        free = 0.0
        while True:
            packet = os.read(source, 65536)
            free = max(free, time.monotonic()) + len(packet) / wire["rate"]
            with filled:
                queue.append((free + wire["delay"], packet))
                filled.notify()

    def write() -> None:
        while True:
            with filled:
                while not queue:
                    filled.wait()
                due, packet = queue.popleft()
            left = due - time.monotonic()
            if left > 0.0001:
                time.sleep(left)
            try:
                os.write(sink, packet)
            except OSError:  # the device is down: the packet is lost
                continue

    for way in (read, write):
        threading.Thread(target=way, daemon=True).start()


def main() -> None:
    asked, wire = Path(sys.argv[1]), {"delay": 0.0, "rate": 1e9}
    one, other = tun(*sys.argv[2:5]), tun(*sys.argv[5:8])
    carry(one, other, wire)
    carry(other, one, wire)
    print("up", flush=True)
    while True:
        words = asked.read_text().split()
        if len(words) == 2:  # else it is being written
            wire.update(delay=float(words[0]) / 1e3, rate=float(words[1]) * 1e6 / 8)
        time.sleep(0.05)


if __name__ == "__main__":
    main()
