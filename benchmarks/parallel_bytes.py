"""Bytes that a rank sends in a step, counted at the network interface, beside the formula. Linux, root.

    python -m benchmarks.parallel_bytes >docs/raw/parallel-bytes.json
    python -m benchmarks.parallel_bytes --passes >docs/raw/parallel-bytes-passes.json
    python -m benchmarks.parallel_bytes --plot docs/raw/parallel-bytes.json docs/parallel-bytes.png

Each rank is alone in a network namespace; all are on a bridge. It reads what its interface has sent
(``/sys/class/net/eth0/statistics``) before and after some steps, and takes 66 bytes of each packet for its Ethernet, IP
and TCP headers; the kernel hands the interface packets of up to 64 KiB, so headers are 0.1%. Of the steps the one
counts that sent least: on busy cores TCP sends some packets again. The net is the paper's, with its 1,000 classes.
``--passes`` counts frozen layers and accumulated gradients, between two ranks, with 512 units in fc6 and fc7.
"""

import argparse
import gc
import json
import os
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from matplotlib import ticker

from alexnet.diagnostics.bench_parallel import layout_step
from alexnet.figures import style
from alexnet.nets.table_file import load_table
from alexnet.ranks import joined
from alexnet.training.parallel.costs import WHOLE, Passes, bytes_sent
from alexnet.training.parallel.layout import Layout
from benchmarks import harness, hosts

STEPS = 4
LAYOUTS = ("data", "towers", "hybrid", "sharded")
NARROW = 'base = "paper"\n' + "".join(
    f"[layers.{name}]\nunits = 512\n" for name in ("fc6", "fc7")
)  # an eighth: seconds
FROZEN, PARTS = Passes("conv4"), Passes(parts=3)  # conv3 and what is before it learn nothing; gradient accumulation
KNOWN = Passes("fc7", computed=True)  # what fc7 sees was computed before
CASES_OF_PASSES = {  # of two ranks and a batch of 6: layout, precision, passes
    **{f"frozen to conv3, {name}": (name, "float32", FROZEN) for name in LAYOUTS},
    **{f"fc6's units computed, {name}": (name, "float32", KNOWN) for name in LAYOUTS},
    **{f"three parts, {name}": (name, "float32", PARTS) for name in LAYOUTS},
    "three parts, data, bf16": ("data", "bf16", PARTS),
}
EVEN = 997  # images from which towers send more than data; 1,005 without the scores
CASES = {  # ranks: layout, batch of all ranks, precision
    2: [
        *((name, batch, "float32") for name in LAYOUTS for batch in (8, 32)),
        *((name, 8, "bf16") for name in ("data", "towers", "hybrid")),
    ],
    4: [(name, batch, "float32") for name in LAYOUTS for batch in (8, 32)],
}


def layout_of(name: str, ranks: int) -> Layout:
    """A layout of the paper's net over so many ranks."""
    if name == "towers":
        return Layout(name, ranks // 2, 2)
    return Layout(name, ranks, ranks if name == "hybrid" else 1)


def counted(batches: list[int], net: str, passes_too: bool) -> list[dict]:
    """Every case of these batches, in this rank; and those of other passes through the net."""
    table, device, rows = load_table(net), torch.device("cpu"), []
    with joined() as ranks:
        cases = [("", *case, WHOLE) for case in CASES[ranks.size] if case[1] in batches]
        if passes_too:
            cases += [(key, name, 6, *more) for key, (name, *more) in CASES_OF_PASSES.items()]
        for key, name, batch, precision, passes in cases:
            layout = layout_of(name, ranks.size)
            step = layout_step(ranks, layout, table, 1000, batch, precision, device, passes)
            step()  # buffers and connections
            dist.barrier()
            counts = []
            for _ in range(STEPS):
                before = hosts.sent()
                step()
                dist.barrier()
                counts.append([after - first for after, first in zip(hosts.sent(), before)])
            payload, packets = min((bytes_ - hosts.FRAME * packets, packets) for bytes_, packets in counts)
            formula = bytes_sent(table, 1000, layout, batch / layout.data, precision, passes=passes)
            all_ranks = ranks.gather(payload)
            rows.append({
                **({"passes": key} if key else {}),
                "layout": name, "ranks": ranks.size, "batch": batch, "precision": precision, "steps": STEPS,
                "sent": max(all_ranks), "sent_by_rank": all_ranks, "headers": hosts.FRAME * packets,
                "formula": formula, "ratio": max(all_ranks) / formula,
            })  # fmt: skip
            harness.note(key, {key: rows[-1][key] for key in ("layout", "ranks", "batch", "sent", "ratio")})
            del step
            gc.collect()
    return rows


def measure(passes: bool) -> dict:
    """Both numbers of ranks; or two, with other passes through the net."""
    rows, words = [], ["-m", "benchmarks.parallel_bytes", "--rank"]
    for count in (2,) if passes else CASES:
        with hosts.bridged(count, "bytes") as spaces, tempfile.TemporaryDirectory() as room:
            net = Path(room, "narrow.toml")
            net.write_text(NARROW, encoding="utf-8")
            more = ["--passes", "--batches", "0", "--net", str(net)] if passes else []
            rows += json.loads(hosts.on_hosts(spaces, [*words, *more], 900))
        harness.note([(row["layout"], row["batch"], round(row["ratio"], 4)) for row in rows])
    return {"net": NARROW if passes else "paper", "classes": 1000, "rows": rows}


def plot(content: dict, path: str) -> None:
    """Formula and counts by the batch at two ranks, and by the number of ranks at 128 images each."""
    figure, table = style.blank(11, 4.4), load_table("paper")
    by_batch, by_ranks = figure.subplots(1, 2)
    batches, numbers = [8 * 2 ** (i / 4) for i in range(33)], [2, 4, 8, 16, 24, 32, 48, 64]
    for number, name in enumerate(LAYOUTS):
        looks = {"color": style.LINES[number], "ls": style.DASHES[number]}
        layout = layout_of(name, 2)
        sent = [bytes_sent(table, 1000, layout, batch / layout.data) / 1e6 for batch in batches]
        by_batch.plot(batches, sent, label=name, **looks)
        case = (name, 2, "float32")
        rows = [
            row
            for row in content["rows"]
            if "passes" not in row and (row["layout"], row["ranks"], row["precision"]) == case
        ]
        by_batch.plot([row["batch"] for row in rows], [row["sent"] / 1e6 for row in rows], style.MARKERS[number],
                      color=style.LINES[number])  # fmt: skip
        layouts = [layout_of(name, ranks) for ranks in numbers]
        sent = [bytes_sent(table, 1000, layout, 128 * layout.ranks / layout.data) / 1e6 for layout in layouts]
        by_ranks.plot(numbers, sent, label="towers x data" if name == "towers" else name, **looks)
    by_batch.axvline(EVEN, color=style.QUIET, lw=0.8)
    by_batch.text(EVEN * 0.93, 12, f"towers = data\nat {EVEN:,}", ha="right", fontsize=9, color=style.INK)
    by_ranks.axvline(26.5, color=style.QUIET, lw=0.8)
    by_ranks.text(28, 12, "hybrid loses\nfrom 27 ranks on", fontsize=9, color=style.INK)
    by_batch.set(xlabel="images of a batch, 2 ranks", title="Lines: formula. Marks: counted at the interface.")
    by_ranks.set(xlabel="ranks, 128 images each", title="Formula")
    plain = ticker.FuncFormatter(lambda value, _: f"{value:,.10g}")
    for axes, ticks in ((by_batch, (8, 32, 128, 512, 2048)), (by_ranks, (2, 4, 8, 16, 32, 64))):
        axes.set(xscale="log", yscale="log", ylim=(2, 3000), ylabel="MB that a rank sends a step, float32")
        axes.set_title(axes.get_title(), loc="left", fontsize=11, color=style.INK)
        axes.set_title("")
        axes.set_xticks(ticks)
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(plain)
        axes.yaxis.set_major_formatter(plain)
        axes.grid(axis="y", color=style.GRID)
        axes.legend(frameon=False, fontsize=9)
        style.clean(axes)
    style.save(figure, path)


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--passes", action="store_true", help="frozen layers and accumulated gradients alone")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32], help=argparse.SUPPRESS)
    parser.add_argument("--net", default="paper", help=argparse.SUPPRESS)
    parser.add_argument("--plot", nargs=2, metavar=("JSON", "PNG"))
    options = parser.parse_args()
    if options.rank:
        rows = counted(options.batches, options.net, options.passes)
        if os.environ["RANK"] == "0":
            print(json.dumps(rows))
    elif options.plot:
        plot(json.loads(Path(options.plot[0]).read_text(encoding="utf-8")), options.plot[1])
    else:
        harness.emit(measure(options.passes))


if __name__ == "__main__":
    main()
