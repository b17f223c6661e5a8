"""Tables and pictures of the docs from the raw figures of experiments, so that these cannot drift apart.

    python -m benchmarks.reports docs/results.md

A page has each such table between two comments, ``<!-- table: EXPERIMENT RAW -->`` and ``<!-- end of table -->``.
RAW is a file of ``docs/raw`` as ``alexnet reproduce`` writes it; its picture goes to ``docs/figures`` and stands below
the table. ``<!-- table: imagenet -->`` and others without RAW are of modules of ``benchmarks``, and have none. What is
between the comments is written again.
"""

import argparse
import re
from pathlib import Path

from alexnet.experiments.experiment import CIFAR_10
from alexnet.experiments.known import EXPERIMENTS
from alexnet.experiments.raw import read_rows
from alexnet.experiments.runner import draw
from benchmarks import cifar_goals, imagenet, jpeg_copy
from benchmarks.harness import ROOT

RAW, FIGURES = ROOT / "docs" / "raw", ROOT / "docs" / "figures"
OTHERS = {"cifar-goals": cifar_goals.table, "imagenet": imagenet.table, "jpeg-copy": jpeg_copy.table}  # no experiment's
TABLE = re.compile(r"(<!-- table: (\S+)(?: (\S+))? -->\n).*?(<!-- end of table -->)", re.DOTALL)


def rebuilt(page: str) -> str:
    """A page's text with its tables as the raw figures have them."""

    def table(match: re.Match[str]) -> str:
        begins, experiment, raw, ends = match.groups()
        if raw:
            made = EXPERIMENTS[experiment]
            copy = " (JPEG copy)" if made.needs == CIFAR_10 else ""
            picture = f"![{made.description.partition(';')[0]}{copy}](figures/{picture_of(raw)})"
            lines = [*made.table(read_rows(RAW / raw)), "", picture]
        else:
            lines = OTHERS[experiment](RAW)
        return begins + "\n".join(["", *lines, "", ends])

    return TABLE.sub(table, page)


def picture_of(raw: str) -> str:
    """The name of the picture of a file of raw figures."""
    return Path(raw).with_suffix(".png").name


def drawn(page: str) -> list[tuple[str, str]]:
    """Experiments and raw files of which a page has pictures."""
    return [(match[2], match[3]) for match in TABLE.finditer(page) if match[3]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path)
    for page in parser.parse_args().pages:
        text = page.read_text(encoding="utf-8")
        page.write_text(rebuilt(text), encoding="utf-8")
        for experiment, raw in drawn(text):
            draw(experiment, RAW / raw, FIGURES / picture_of(raw))


if __name__ == "__main__":
    main()
