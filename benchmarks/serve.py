"""How soon and how fast ``alexnet serve`` answers, beside the rate of the net alone: wrk asks, over loopback.

python -m benchmarks.serve RUN >docs/raw/serve.json
python -m benchmarks.serve RUN --webcam

The run is served in a process of its own. Each round measures the net alone in batches of 128, then one client, then
32, and then 96, which are more than the queue holds. Seconds of the processor are the server's own: they say what a
request costs on a machine that others use, too. Needs wrk (Debian's package).

With ``--webcam`` it is the page that asks, in Chromium with its fake webcam: frames that are answered and shown in a
second on Predict and on Inside. Each frame is sent when the last one is shown.
"""

import asyncio
import io
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from alexnet import load, machine
from alexnet.nets.inference import for_inference
from alexnet.nets.precision import autocast, input_dtype, product_dtype
from benchmarks import harness

WIDTH, HEIGHT, BATCH = 500, 375, 128
CLIENTS, TOO_MANY = 32, 96
SCRIPT = """wrk.method = "POST"
local file = io.open("{photo}", "rb")
wrk.body = file:read("*a")
file:close()
"""
FAKE_WEBCAM = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
TABS = {"predict": "predict", "inside": "conv2"}  # with their addresses
TIMES = {"us": 1e-3, "ms": 1.0, "s": 1e3}

# Counts the pictures of what the net sees, which a frame's answer brings
SHOWN = """() => {
  window.shown = 0;
  const watch = new MutationObserver(() => { window.shown += 1; });
  watch.observe(document.getElementById('square'), { attributes: true, attributeFilter: ['src'] });
}"""


def photo(width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> bytes:
    """A JPEG as large as a photo of that many pixels: smooth, with some noise."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (height // 12, width // 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), float)
    pixels = (smooth + random.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


class Server:
    """``alexnet serve`` in a process of its own, on a free port, while its block runs."""

    def __init__(self, run: Path, *options: str):
        self.command = [sys.executable, "-m", "alexnet", "serve", str(run), "--port", "0", *options]

    def __enter__(self) -> "Server":
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True, env=None)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.port = int(re.findall(r":(\d+)/", line)[0])
        return self

    def __exit__(self, *error: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)

    def processor(self) -> float:
        """Seconds of the processor that it has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, which: str = "VmRSS") -> int:
        """Bytes of memory that it has, or had at most (``VmHWM``)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return 1024 * int(re.findall(rf"{which}:\s+(\d+) kB", status)[0])


def wrk(server: Server, clients: int, seconds: int, script: Path) -> dict[str, float]:
    """Requests a second, milliseconds at which half and 99% were answered, and the server's own for each."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "--timeout", "30s", "-s", str(script)]
    address, before = f"http://127.0.0.1:{server.port}/predict", server.processor()
    said = subprocess.run([*command, address], capture_output=True, text=True, check=True)
    spent = server.processor() - before
    if "Non-2xx" in said.stdout:
        raise RuntimeError(said.stdout)
    shares = {share: float(value) * TIMES[unit] for share, value, unit in
              re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", said.stdout, re.MULTILINE)}  # fmt: skip
    return {
        "requests_per_second": float(re.findall(r"Requests/sec:\s+([\d.]+)", said.stdout)[0]),
        "p50_ms": shares["50"],
        "p99_ms": shares["99"],
        "processor_ms": 1e3 * spent / int(re.findall(r"(\d+) requests in", said.stdout)[0]),
    }


async def overload(port: int, clients: int, seconds: float, content: bytes) -> dict[str, Any]:
    """More clients than the queue holds, who wait for 250 ms where they are refused: milliseconds by status."""
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n".encode()
    times: dict[int, list[float]] = {200: [], 503: []}
    end = time.perf_counter() + seconds

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            begun = time.perf_counter()
            writer.write(head + content)
            answer = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.findall(rb"content-length: (\d+)", answer)[0]))
            status = int(answer.split()[1])
            times[status].append(1e3 * (time.perf_counter() - begun))
            if status == 503:
                assert b"retry-after: " in answer
                await asyncio.sleep(0.25)
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    accepted, refused = (sorted(times[status]) for status in (200, 503))
    return {
        "accepted": len(accepted),
        "accepted_p99_ms": accepted[int(0.99 * len(accepted))],
        "refused": len(refused),
        "refused_p50_ms": refused[len(refused) // 2] if refused else None,
        "refused_p99_ms": refused[int(0.99 * len(refused))] if refused else None,
    }


def net_alone(run: Path) -> Any:
    """A task: images a second of the net in batches of 128, as ``alexnet bench`` does, and its ms of processor."""
    classifier = load(run)
    precision = machine.choose_precision("auto", classifier.device)
    ready = for_inference(classifier.net, product_dtype(precision))
    side = classifier.preprocessing.crop
    images = torch.randn(BATCH, 3, side, side).contiguous(memory_format=torch.channels_last).to(input_dtype(precision))

    @torch.inference_mode()
    def infer() -> None:
        with autocast(classifier.device, precision):
            ready(images).float().softmax(1)

    infer()

    def rates() -> tuple[float, float]:
        begun, rate = time.process_time(), BATCH / statistics.median(harness.seconds(infer) for _ in range(3))
        return rate, 1e3 * (time.process_time() - begun) / (3 * BATCH)

    return rates


def webcam(server: Server, seconds: int, rounds: int) -> list[dict[str, Any]]:
    """Frames a second of the page's webcam, of which an answer is shown, on each tab; a round before is not counted."""
    from playwright.sync_api import sync_playwright

    measured: list[dict[str, Any]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FAKE_WEBCAM)
        context = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["camera"])
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.wait_for_selector("html[data-ready]")
        page.evaluate(SHOWN)
        page.get_by_role("button", name="Webcam").click()
        for number in range(rounds + 1):
            frames: dict[str, Any] = {"load_average": os.getloadavg()[0]}
            for tab, address in TABS.items():
                page.evaluate("address => { location.hash = address }", address)
                page.wait_for_timeout(1000)
                before, begun = page.evaluate("shown"), time.perf_counter()
                page.wait_for_timeout(1000 * seconds)
                frames[tab] = (page.evaluate("shown") - before) / (time.perf_counter() - begun)
            harness.note(json.dumps(frames))
            measured += [frames] if number else []
        browser.close()
    return measured


def measure_webcam(options: Any) -> None:
    """As ``--webcam`` asks for."""
    with Server(options.run) as server:
        rounds = webcam(server, options.seconds, options.rounds)
    medians = {tab: statistics.median(frames[tab] for frames in rounds) for tab in TABS}
    harness.emit({"frames_per_second": medians, "seconds": options.seconds, "rounds": rounds})


def main() -> None:
    parser = harness.parser(__doc__, rounds=3)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement")
    parser.add_argument("--webcam", action="store_true", help="measure the page's webcam instead; needs Chromium")
    options = parser.parse_args()
    if options.webcam:
        measure_webcam(options)
        return
    machine.set_up()
    run, content = options.run, photo()
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, Server(run) as server:
        Path(folder, "photo.jpg").write_bytes(content)
        script = Path(folder, "post.lua")
        script.write_text(SCRIPT.format(photo=Path(folder, "photo.jpg")))
        alone = net_alone(run)
        before = server.memory()
        for number in range(options.rounds + 1):
            harness.note(f"round {number} of {options.rounds}" if number else "a round that is not counted")
            rate, cost = alone()
            measured = {
                "net_images_per_second": rate,
                "net_processor_ms": cost,
                "load_average": os.getloadavg()[0],
                "one": wrk(server, 1, options.seconds, script),
                "many": wrk(server, CLIENTS, options.seconds, script),
                "too_many": asyncio.run(overload(server.port, TOO_MANY, options.seconds, content)),
            }
            measured["share"] = measured["many"]["requests_per_second"] / rate
            measured["processor_share"] = cost / measured["many"]["processor_ms"]
            harness.note(json.dumps(measured))
            rounds.append(measured)
        memory = {"before": before, "most": server.memory("VmHWM")}
    median = statistics.median(round_["share"] for round_ in rounds[1:])
    harness.emit(
        {"photo_bytes": len(content), "clients": CLIENTS, "share": median, "memory": memory, "rounds": rounds[1:]}
    )


if __name__ == "__main__":
    main()
