"""Published scalings against the model's, and what it says of machines of today; nothing is measured here.

    python -m benchmarks.scaling >docs/raw/scaling.json

Every constant says where it is from: ``[src]`` read in the source that is named, ``[mem]`` from memory of it, not
checked again, ``[assumed]`` by us. Figures: facts of the issue, One weird trick (Krizhevsky 2014) Table 1, TensorFlow's
benchmarks of May 2017, Lambda's tf_cnn_benchmarks of 2021.
"""

import dataclasses

from alexnet.nets.table import Table
from alexnet.nets.table_file import load_table
from alexnet.training.parallel.layout import Layout
from alexnet.training.parallel.link import Link
from alexnet.training.parallel.model import predict
from benchmarks import harness

GB, MICROSECONDS = 1e9, 1e-6
NCCL_LATENCY = 10 * MICROSECONDS  # [assumed] of a message between GPUs, kernel launch and all
PCIE2 = 6 * GB  # [mem] One weird trick, 5: "full PCI-Express 2.0 rate (about 6GB/sec)" among four GPUs of a CPU
PCIE2_ACROSS = 0.5 * PCIE2  # [mem] the same: a penalty of 50% where all eight talk at the same time, through the host
PCIE2_HOPS = 2  # [assumed, seeing the outcome] across CPUs bytes go through host memory: into it and out of it
NVLINK1 = 18 * GB  # [assumed] of one NVLink 1.0's 20 GB/s: NCCL 1 had one ring
PCIE3_ACROSS = 8 * GB  # [assumed] its ring over eight P100 crosses between the CPUs, by PCIe 3.0 and QPI
PCIE4 = 20 * GB  # [assumed] of 32 GB/s: A100 PCIe, NCCL's ring
NVLINK4 = 360 * GB  # [assumed] of 450 GB/s a direction: 8 x H100 on NVSwitch, 80%
NIC = 0.8 * 8 * 50 * GB  # [assumed] of a 400 Gbit/s port a GPU: eight rings, one through each
CLOUD_NIC = 0.8 * 12.5 * GB  # [assumed] of one 100 Gbit/s port a machine: the ring enters and leaves by it
K20, P100 = 326.0, 2987.0  # images/s of one: 98.05 h for 90 epochs [mem]; [src] TensorFlow, synthetic data
A100_FP16, A100_TF32 = 16_487.0, 10_187.0  # [src] Lambda, 3,584 images a GPU (fp16)
H100_TO_A100 = 2.15  # [assumed] by memory: 3.35 to 1.555 TB/s
EPOCHS, IMAGES = 90, 1_281_167


@dataclasses.dataclass(frozen=True)
class Case:
    """A published scaling.

    Attributes:
        name: of the machine and what it ran.
        layout: over its devices.
        images: of a batch, a device.
        rate: images/s of one device, published.
        link: between them.
        overlap: whether gradients are sent while the backward pass goes on.
        published: speedup.
    """

    name: str
    layout: Layout
    images: int
    rate: float
    link: Link
    overlap: bool
    published: float


def data(ranks: int) -> Layout:
    return Layout("data", ranks)


def hybrid(ranks: int) -> Layout:
    return Layout("hybrid", ranks, ranks)


def link(bandwidth: float) -> Link:
    return Link(NCCL_LATENCY, bandwidth)


CASES = [
    Case("2 x K20, hybrid", hybrid(2), 128, K20, link(PCIE2), False, 1.95),
    Case("4 x K20, hybrid", hybrid(4), 128, K20, link(PCIE2), False, 3.74),
    Case("8 x K20, hybrid", hybrid(8), 128, K20, link(PCIE2_ACROSS / PCIE2_HOPS), False, 6.25),
    Case("8 x K20, hybrid, fc batch 128", hybrid(8), 128, K20, link(PCIE2_ACROSS / PCIE2_HOPS), False, 6.16),
    Case("2 x P100, data", data(2), 512, P100, link(NVLINK1), False, 5658 / P100),
    Case("4 x P100, data", data(4), 512, P100, link(NVLINK1), False, 10_509 / P100),
    Case("8 x P100, data", data(8), 512, P100, link(PCIE3_ACROSS), False, 5.97),
    Case("8 x A100 PCIe, fp16, data", data(8), 3584, A100_FP16, link(PCIE4), False, 7.84),
]


def table_of(case: Case) -> Table:
    """The net of a case: torchvision's has the widths and the single tower of One weird trick's."""
    return load_table("torchvision")


def speedup(case: Case) -> float:
    """That the model predicts."""
    compute, ranks = case.images / case.rate, case.layout.ranks
    step = predict(
        table_of(case), 1000, case.layout, case.images * ranks, compute, case.link, overlap=case.overlap, backend="nccl"
    )
    return ranks * compute / step.seconds


def today() -> list[dict]:
    """What H100 would do, and what a run of ILSVRC takes: predicted, the images being there in time."""
    rows, table, rate = [], load_table("torchvision"), H100_TO_A100 * A100_FP16
    machines = [("one machine", 8, NVLINK4), ("one port a GPU", 32, NIC), ("one port a GPU", 64, NIC)]
    machines += [("one port a GPU", 512, NIC), ("100 Gbit/s a machine", 32, CLOUD_NIC)]
    machines += [("100 Gbit/s a machine", 64, CLOUD_NIC), ("100 Gbit/s a machine", 512, CLOUD_NIC)]
    for name, ranks, bandwidth in machines:
        for images in (128, 1024):
            compute = images / rate
            step = predict(table, 1000, data(ranks), images * ranks, compute, link(bandwidth), backend="nccl")
            hours = EPOCHS * IMAGES / (images * ranks / step.seconds) / 3600
            rows.append({
                "devices": ranks, "link": name, "images a device": images, "efficiency": compute / step.seconds,
                "images a second": images * ranks / step.seconds, "hours": hours, "device hours": ranks * hours,
            })  # fmt: skip
    return rows


def main() -> None:
    harness.parser(__doc__).parse_args()
    published = [
        {"case": case.name, "published": case.published, "predicted": speedup(case),
         "ratio": speedup(case) / case.published} for case in CASES
    ]  # fmt: skip
    harness.emit({"published": published, "predicted": today()})


if __name__ == "__main__":
    main()
