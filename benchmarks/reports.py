"""Tables of the docs from the raw figures of experiments, so that the two cannot drift apart.

    python -m benchmarks.reports docs/results.md

A page has each such table between two comments, ``<!-- table: EXPERIMENT RAW -->`` and ``<!-- end of table -->``.
RAW is a file of ``docs/raw`` as ``alexnet reproduce`` writes it. ``<!-- table: imagenet -->`` and ``<!-- table:
jpeg-copy -->`` are made by ``benchmarks.imagenet`` and ``jpeg_copy``, of several files. What lies between them is
written again.
"""

import argparse
import re
from pathlib import Path

from alexnet.experiments.known import EXPERIMENTS
from alexnet.experiments.raw import read_rows
from benchmarks import imagenet, jpeg_copy
from benchmarks.harness import ROOT

RAW = ROOT / "docs" / "raw"
OF_SEVERAL = {"imagenet": imagenet.table, "jpeg-copy": jpeg_copy.table}  # tables that several raw files make
TABLE = re.compile(r"(<!-- table: (\S+)(?: (\S+))? -->\n).*?(<!-- end of table -->)", re.DOTALL)


def rebuilt(page: str) -> str:
    """A page's text with its tables as the raw figures have them."""

    def table(match: re.Match[str]) -> str:
        begins, experiment, raw, ends = match.groups()
        lines = EXPERIMENTS[experiment].table(read_rows(RAW / raw)) if raw else OF_SEVERAL[experiment](RAW)
        return begins + "\n".join(["", *lines, "", ends])

    return TABLE.sub(table, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path)
    for page in parser.parse_args().pages:
        page.write_text(rebuilt(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
