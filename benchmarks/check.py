"""The guard against getting slower: ``alexnet bench``'s ratios against those stored for this processor.

    python -m benchmarks.check            compares; fails on a loss beyond what the machine's noise allows
    python -m benchmarks.check --store    measures and stores the ratios for this processor

Ratios of one run, not times: absolute times drift on shared machines.
"""

import json
import sys
from pathlib import Path

from alexnet import machine
from alexnet.diagnostics.bench import bench
from benchmarks import harness

EXPECTED = Path(__file__).parent / "expected.json"
GUARDED = (
    "training step, ours to plain port",
    "training step, ours to matrix-rate floor",
    "inference, ours to plain port",
    "inference, ours to matrix-rate floor",
    "loader, ours to bare decoding",
)
COMPARED = ("matrix", "step", "plain_step", "inference", "plain_inference", "loader", "decode")
LOSS = 0.08  # of a ratio, beside what the rounds themselves spread


def main() -> int:
    parser = harness.parser(__doc__, rounds=9)
    parser.add_argument("--store", action="store_true")
    options = parser.parse_args()
    machine.set_up()
    measurement = bench(rounds=options.rounds, say=harness.note)
    about = measurement.machine
    processor = f"{about['processor']}, {about['threads']} threads, {about['kernels']} kernels"
    known = json.loads(EXPECTED.read_text(encoding="utf-8")) if EXPECTED.exists() else {}
    ratios = {name: round(measurement.ratios[name], 3) for name in GUARDED}
    if options.store:
        EXPECTED.write_text(json.dumps({**known, processor: ratios}, indent=2) + "\n", encoding="utf-8")
        print(f"{processor}: stored {ratios}")
        return 0
    if processor not in known:
        print(f"error: no ratios are stored for {processor}; on a machine you trust: {sys.argv[0]} --store")
        return 1
    spread = max(measurement.measured[key].spread for key in COMPARED)
    if spread > 0.5:
        print(f"error: the machine is too busy to compare (a quantity spread by {spread:.0%})")
        return 1
    lost = False
    for name, stored in known[processor].items():
        floor = stored * (1 - LOSS - spread / 2)
        slower = measurement.ratios[name] < floor
        lost |= slower
        said = f"{measurement.ratios[name]:.2f}, stored {stored:.2f}, least {floor:.2f}"
        print(f"{'SLOWER' if slower else 'ok':<7} {name}: {said}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
