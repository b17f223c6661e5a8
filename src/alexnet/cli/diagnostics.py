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

    parallel: bool = False
    """Measure the link between the processes that torchrun started, and a step under each layout: see docs/scale.md.
    --batch-size is of all of them."""

    def __call__(self) -> int:
        from alexnet import machine

        for name in ("batch_size", "classes", "rounds"):
            check_number(f"--{name.replace('_', '-')}", getattr(self, name), 1, 10**6)
        check_threads("--threads", self.threads)
        machine.set_up(self.threads)
        return self._parallel() if self.parallel else self._alone()

    def _parallel(self) -> int:
        from alexnet.diagnostics.bench_parallel import bench_parallel

        result = bench_parallel(
            self.net, batch=self.batch_size, classes=self.classes, rounds=self.rounds, device=self.device,
            threads=self.threads, say=Display(unit="rounds").line,
        )  # fmt: skip
        if self.json:
            return print_json(dataclasses.asdict(result))
        shown = table_of("layout", "step, s", "predicted, s", "MB sent", right=(1, 2, 3))
        for row in result.layouts:
            add_row(shown, row.layout, f"{row.seconds:.3g}", f"{row.predicted:.3g}", f"{row.sent / 1e6:,.1f}")
        print_table(shown)
        say(f"net {result.net}, batch {result.batch}, {result.ranks} ranks on {result.device}, {result.precision}")
        say(
            f"link: {1e3 * result.latency:.2g} ms, {8e-9 * result.bandwidth:.2g} Gbit/s; a rank's part of a step "
            f"without any exchange: {result.alone:.3g} s"
        )
        say(f"take: --parallel {result.best}")
        return 0

    def _alone(self) -> int:
        from alexnet.diagnostics.bench import bench, spread_words

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
