"""Commands about this machine: bench, doctor."""

import dataclasses

from alexnet.cli.streams import print_json, say
from alexnet.cli.tables import add_row, print_table, table_of
from alexnet.errors import check_number, check_threads
from alexnet.progress import Display


@dataclasses.dataclass(frozen=True)
class Bench:
    """Measures this machine: our speed, the plain port's beside it, and the floors, in about two minutes."""

    net: str = "paper"
    """Name of a net, or path of a .toml table."""

    batch_size: int = 128
    """Images a step."""

    classes: int = 1000
    """Units of the last layer."""

    rounds: int = 7
    """How often each quantity is measured, interleaved; the median is said."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:N, mps."""

    threads: int | None = None
    """Of torch; OMP_NUM_THREADS, or every core that the process may use, if not given."""

    json: bool = False
    """Prints everything measured as JSON."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.diagnostics.bench import bench, spread_words

        for name in ("batch_size", "classes", "rounds"):
            check_number(f"--{name.replace('_', '-')}", getattr(self, name), 1, 10**6)
        check_threads("--threads", self.threads)
        machine.set_up(self.threads)
        found = bench(
            self.net, batch=self.batch_size, classes=self.classes, rounds=self.rounds, device=self.device,
            say=Display(unit="rounds").line,
        )  # fmt: skip
        if self.json:
            return print_json(dataclasses.asdict(found))
        shown = table_of("measured", "median", "", "half the spread", right=(1, 3))
        for each in found.measured.values():
            add_row(shown, each.name, f"{each.median:,.1f}", each.unit, spread_words(each))
        print_table(shown)
        ratios = table_of("compared", "ratio", right=(1,))
        for name, ratio in found.ratios.items():
            add_row(ratios, name, f"{ratio:.2f}")
        print_table(ratios)
        say(f"net {found.net}, batch {found.batch}; " + ", ".join(f"{k} {v}" for k, v in found.machine.items()))
        if found.noisy:
            say(f"warning: the machine was busy; these spread too far to compare: {', '.join(found.noisy)}")
        return 0


@dataclasses.dataclass(frozen=True)
class Doctor:
    """Says what is installed, which paths run, and what would make them faster."""

    json: bool = False
    """Prints it as JSON."""

    def __call__(self) -> int:
        from alexnet.diagnostics.doctor import doctor

        found = doctor()
        if self.json:
            return print_json(dataclasses.asdict(found))
        shown = table_of("here", "")
        for name, fact in found.facts.items():
            add_row(shown, name, fact)
        print_table(shown)
        for line in found.advice or ["nothing to do: the fastest path of this machine runs"]:
            say(line)
        return 0
