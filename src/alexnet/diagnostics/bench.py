"""How fast this machine trains and predicts, beside the plain port and the machine's own floors, in one run.

Every quantity is measured once in each of several interleaved rounds; what is said is the median, and how far the
middle half of the rounds spreads. Absolute times drift; ratios of one run hold.
"""

import contextlib
import dataclasses
import io
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torch import Tensor

from alexnet import files, machine, native
from alexnet.data import synthetic as drawn
from alexnet.data.batches import Batch, Batches, ahead
from alexnet.data.dataset import Dataset
from alexnet.data.prepare import prepare
from alexnet.diagnostics.plain_port import PlainPort
from alexnet.nets.costs import multiply_adds
from alexnet.nets.inference import for_inference
from alexnet.nets.network import Network
from alexnet.nets.precision import autocast, input_dtype, keep_copies, product_dtype
from alexnet.nets.table import Table
from alexnet.nets.table_file import load_table
from alexnet.training.optimizer import Momentum
from alexnet.training.step import Step

SIDE = 4096  # of the matrices whose product gives the rate
COPIED = 256 << 20  # bytes
IMAGES, PHOTOS = 192, 64  # synthetic images for the loader; JPEG files of the size of ImageNet's for prepare
NOISY = 0.10  # spread beyond which a machine was too busy to compare


@dataclasses.dataclass(frozen=True)
class Measured:
    """One quantity.

    Attributes:
        name, unit: what it is.
        median: over the rounds, in ``unit``.
        spread: width of the middle half of the rounds, as a share of the median.
        rounds: every round's value.
    """

    name: str
    unit: str
    median: float
    spread: float
    rounds: list[float]


@dataclasses.dataclass(frozen=True)
class Bench:
    """What ``bench`` measured.

    Attributes:
        machine: processor, cores, torch, device, precision, and which kernels ran.
        net, batch: what was trained.
        measured: every quantity by its key.
        ratios: what is compared, by name.
        noisy: names of quantities whose rounds spread too far to be compared.
    """

    machine: dict[str, str]
    net: str
    batch: int
    measured: dict[str, Measured]
    ratios: dict[str, float]
    noisy: list[str]


def bench(
    net: str = "paper",
    *,
    batch: int = 128,
    classes: int = 1000,
    rounds: int = 7,
    device: str = "auto",
    threads: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Bench:
    """Measures matrix and copy rate, our step and the plain port's, inference, the loader and ``prepare``.

    Args:
        net: a net's name or table.
        batch: images per step.
        classes: units of the last layer.
        rounds: how often each quantity is measured.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps``.
        threads: of torch; those that it has if not given.
        say: is told what is being done.

    Raises:
        UsageError: no such net or device.
    """
    where = machine.choose_device(device)
    precision = machine.choose_precision("auto", where)
    load_table(net)  # refused before the work, where there is none
    with contextlib.ExitStack() as running:
        running.enter_context(machine.torch_threads(threads))
        room = running.enter_context(tempfile.TemporaryDirectory())
        say("drawing images, building both nets")
        dataset = prepare(drawn.source(IMAGES), Path(room, "store"), val_fraction=0)
        plain = running.enter_context(PlainPort(batch, classes, where))
        tasks = _tasks(Network(net, classes), batch, where, precision, dataset, Path(room), plain)
        values = interleaved(
            {key: task for key, (_, _, task) in tasks.items()},
            rounds,
            say=lambda number: say(f"round {number} of {rounds}" if number else "first round, not counted"),
        )
        about = {
            "processor": machine.cpu_name(),
            "threads": str(torch.get_num_threads()),
            "torch": torch.__version__,
            "device": machine.device_name(where),
            "precision": precision,
            "kernels": native.kernels(where),
        }
    measured = {key: _summary(name, unit, values[key]) for key, (name, unit, _) in tasks.items()}
    noisy = [quantity.name for quantity in measured.values() if quantity.spread > NOISY]
    return Bench(about, net, batch, measured, _ratios(measured, load_table(net), classes), noisy)


def _ratios(measured: Mapping[str, Measured], table: Table, classes: int) -> dict[str, float]:
    """What is compared, by name: rates of one run, so that they hold where times drift."""
    rate = {key: quantity.median for key, quantity in measured.items()}
    products, trained = multiply_adds(table, classes)
    matrix = rate["matrix"] * 1e9
    return {
        "training step, ours to plain port": rate["step"] / rate["plain_step"],
        "training step, ours to matrix-rate floor": rate["step"] * 2 * trained / matrix,
        "inference, ours to plain port": rate["inference"] / rate["plain_inference"],
        "inference, ours to matrix-rate floor": rate["inference"] * 2 * products / matrix,
        "loader, ours to bare decoding": rate["loader"] / rate["decode"],
        "prepare, ours to Pillow's": rate["prepare"] / rate["pillow"],
        "loader against training, a core for each": rate["loader"] / rate["step"],
    }


def _summary(name: str, unit: str, values: list[float]) -> Measured:
    middle = statistics.median(values)
    quarters = statistics.quantiles(values, n=4) if len(values) > 1 else [middle, middle, middle]
    return Measured(name, unit, middle, (quarters[2] - quarters[0]) / middle, values)


def _photos(room: Path) -> Path:
    """Drawn images as files of 500x409 pixels, quality 90."""
    for index in range(PHOTOS):
        name = drawn.CLASSES[index % len(drawn.CLASSES)]
        folder = files.make_folder(room / "photos" / name)
        image = Image.fromarray(drawn.draw(index, index % len(drawn.CLASSES))).resize((500, 409))
        image.save(folder / f"{index:03d}.jpg", quality=90)
    return room / "photos"


def interleaved(
    tasks: Mapping[str, Callable[[], float]],
    rounds: int,
    *,
    uncounted: int = 1,
    say: Callable[[int], None] = lambda number: None,
) -> dict[str, list[float]]:
    """What tasks answer in rounds of each once, by name.

    Args:
        tasks: by name.
        rounds: that count.
        uncounted: rounds before these, in which caches fill.
        say: is told each round's number before it begins; 0 and below do not count.
    """
    values: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(1 - uncounted, rounds + 1):
        say(number)
        for name, task in tasks.items():
            value = task()
            if number > 0:
                values[name].append(value)
    return values


def random_images(net: Network, batch: int, device: torch.device, precision: str) -> Tensor:
    """(batch, channels, height, width) as the net takes them, channels-last, in the type of its input."""
    images = torch.randn(batch, *net.table.input, device=device)
    return images.to(input_dtype(precision), memory_format=torch.channels_last)


def training_step(net: Network, images: Tensor, precision: str) -> Callable[[], object]:
    """What takes the trainer's step on images that lie on the device: forward, backward, update.

    Args:
        net: is initialized and moved to the images' device.
        images: from ``random_images``.
        precision: of products.
    """
    net.initialize(0, "he")
    net.to(images.device)
    optimizer = Momentum(net.tensors(), lr=0.001)
    if precision == "bf16":
        optimizer.keep(keep_copies(net, torch.bfloat16))
    rows = torch.arange(len(images), device=images.device)
    batch = Batch(images, rows % net.classes, rows)
    step = Step(net, optimizer, precision)
    return lambda: step(batch)


Task = tuple[str, str, Callable[[], float]]


def _tasks(
    net: Network,
    batch: int,
    device: torch.device,
    precision: str,
    dataset: Dataset,
    room: Path,
    plain: Callable[[str], float],
) -> dict[str, Task]:
    """Name, unit and what measures it once."""

    def seconds(work: Callable[[], object]) -> float:
        machine.synchronize(device)
        begun = time.perf_counter()
        work()
        machine.synchronize(device)
        return time.perf_counter() - begun

    wide = torch.randn(SIDE, SIDE, device=device).to(input_dtype(precision))
    bytes_ = torch.zeros(COPIED, dtype=torch.uint8, device=device)
    room_for = torch.empty_like(bytes_)
    images = random_images(net, batch, device, precision)
    step = training_step(net, images, precision)
    ready = for_inference(net, product_dtype(precision))

    @torch.inference_mode()
    def infer(count: int = batch) -> Tensor:
        with autocast(device, precision):
            return ready(images[:count]).float().softmax(1)

    return {
        "matrix": ("matrix products", "GFLOPS", lambda: 2 * SIDE**3 / seconds(lambda: wide @ wide) / 1e9),
        "copy": ("copying", "GB/s", lambda: 2 * COPIED / seconds(lambda: room_for.copy_(bytes_)) / 1e9),
        "step": ("training step", "images/s", lambda: batch / seconds(step)),
        "plain_step": ("training step, plain port", "images/s", lambda: batch / plain("step")),
        "inference": ("inference", "images/s", lambda: batch / seconds(infer)),
        "plain_inference": ("inference, plain port", "images/s", lambda: batch / plain("infer")),
        "one": ("one image", "ms", lambda: 1e3 * seconds(lambda: infer(1))),
        "plain_one": ("one image, plain port", "ms", lambda: 1e3 * plain("one")),
        **_data_tasks(dataset, room),
    }


def _data_tasks(dataset: Dataset, room: Path) -> dict[str, Task]:
    """The loader and ``prepare``, each on one core."""
    batches = Batches(dataset, "train", 64, 0)
    rows = dataset.rows("train")
    photos = _photos(room)

    def load() -> float:
        begun = time.perf_counter()
        for _ in ahead(batches.load, range(batches.steps), 1):
            pass
        return len(rows) / (time.perf_counter() - begun)

    def decode() -> float:
        begun = time.perf_counter()
        for row in rows:
            simplejpeg.decode_jpeg(np.frombuffer(dataset.encoded(int(row)), np.uint8))
        return len(rows) / (time.perf_counter() - begun)

    def pillow() -> float:
        begun = time.perf_counter()
        for path in sorted(photos.rglob("*.jpg")):
            pillows_way(path.read_bytes())
        return PHOTOS / (time.perf_counter() - begun)

    def make() -> float:
        with tempfile.TemporaryDirectory(dir=room) as folder:
            begun = time.perf_counter()
            prepare(photos, Path(folder, "store"), val_fraction=0, workers=1)
            return PHOTOS / (time.perf_counter() - begun)

    return {
        "loader": ("loader, one thread", "images/s", load),
        "decode": ("bare decoding, one thread", "images/s", decode),
        "prepare": ("prepare, one thread", "images/s", make),
        "pillow": ("the same by Pillow alone", "images/s", pillow),
    }


def pillows_way(data: bytes, side: int = 256) -> bytes:
    """What most do to make a square of a photo: Pillow decodes, resizes (bilinear, antialiased), crops, encodes."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = side / min(image.size)
    image = image.resize((max(side, round(image.width * scale)), max(side, round(image.height * scale))),
                         Image.Resampling.BILINEAR)  # fmt: skip
    left, top = (image.width - side) // 2, (image.height - side) // 2
    buffer = io.BytesIO()
    image.crop((left, top, left + side, top + side)).save(buffer, "JPEG", quality=95, subsampling="4:2:0")
    return buffer.getvalue()


def spread_words(measured: Measured) -> str:
    """``± 3%``, half the range; empty where there is one measurement."""
    if len(measured.rounds) < 2:
        return ""
    return f"± {math.ceil(50 * measured.spread)}%"
