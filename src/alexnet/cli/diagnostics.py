"""Commands about this machine: bench, doctor."""

import dataclasses
from typing import Annotated

from tyro.conf import arg

from alexnet.cli.options import Json, OnDevice
from alexnet.cli.streams import print_json, say
from alexnet.cli.tables import add_row, print_table, table_of
from alexnet.errors import check_number, check_threads
from alexnet.progress import Display


@dataclasses.dataclass(frozen=True)
class Bench(OnDevice, Json):
    """Measure the speed of this machine, beside a plain port and the roofline, in about two minutes."""

    net: Annotated[str, arg(metavar="NET")] = "paper"
    """Name of a net (see `alexnet nets`), or path of a .toml table."""

    batch_size: int = 128
    """Images per step."""

    classes: int = 1000
    """Number of classes: units of the last layer."""

    rounds: int = 7
    """How often each quantity is measured, in interleaved rounds. The median is reported."""

    threads: int | None = None
    """CPU threads for torch (default: OMP_NUM_THREADS, or every core)."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.diagnostics.bench import bench, spread_words

        for name in ("batch_size", "classes", "rounds"):
            check_number(f"--{name.replace('_', '-')}", getattr(self, name), 1, 10**6)
        check_threads("--threads", self.threads)
        machine.set_up(self.threads)
        result = bench(
            self.net, batch=self.batch_size, classes=self.classes, rounds=self.rounds, device=self.device,
            say=Display(unit="rounds").line,
        )  # fmt: skip
        if self.json:
            return print_json(dataclasses.asdict(result))
        shown = table_of("measured", "median", "", "± (half-range)", right=(1, 3))
        for quantity in result.measured.values():
            add_row(shown, quantity.name, f"{quantity.median:,.1f}", quantity.unit, spread_words(quantity))
        print_table(shown)
        ratios = table_of("compared", "ratio", right=(1,))
        for name, ratio in result.ratios.items():
            add_row(ratios, name, f"{ratio:.2f}")
        print_table(ratios)
        say(f"net {result.net}, batch {result.batch}; " + ", ".join(f"{k} {v}" for k, v in result.machine.items()))
        if result.noisy:
            say(f"warning: the machine was busy; these spread too far to compare: {', '.join(result.noisy)}")
        return 0


@dataclasses.dataclass(frozen=True)
class Doctor(Json):
    """Show what is installed, which code paths run, and what would make them faster."""

    def __call__(self) -> int:
        from alexnet.diagnostics.doctor import doctor

        result = doctor()
        if self.json:
            return print_json(dataclasses.asdict(result))
        shown = table_of("this machine", "")
        for name, fact in result.facts.items():
            add_row(shown, name, fact)
        print_table(shown)
        for line in result.advice or ["nothing to do: the fastest path of this machine runs"]:
            say(line)
        return 0
