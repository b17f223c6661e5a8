"""The command that holds runs against each other."""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from alexnet.cli.options import File, Scoring, Split, Working, check_outputs
from alexnet.cli.streams import print_json, say, say_written, warn
from alexnet.cli.tables import add_row, interval_text, print_table, table_of, views_text
from alexnet.errors import AlexNetError, UsageError, check_threads
from alexnet.progress import Display, clock, plural

if TYPE_CHECKING:
    from alexnet.evaluation.compare import ComparedRun, Comparison


@dataclasses.dataclass(frozen=True)
class Compare(Scoring, Working):
    """Compare runs: what their recipes differ in, errors, time, the spread over seeds."""

    runs: Positional[Annotated[tuple[str, ...], arg(metavar="RUN...")]]
    """Two runs or more, or a folder of runs that `alexnet train --seeds` made."""

    dataset: Annotated[str | None, arg(metavar="DATASET")] = None
    """Dataset to measure all runs on. The first run is compared with each other one on the same images (default: none;
    the errors are those noted when the runs were trained or evaluated)."""

    split: Split = "val"
    """Split of the dataset to measure on."""

    output: File | None = None
    """PNG file to draw the error curves of all runs to (default: none)."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.evaluation.compare import compare

        if not self.runs:
            raise UsageError("alexnet compare: give RUN... (two runs or more, or a folder of `alexnet train --seeds`)")
        if self.output and not self.output.lower().endswith(".png"):
            raise UsageError(f"--output {self.output}: is written as PNG; give a name that ends in .png")
        check_threads("--workers", self.workers)
        self._check()
        check_outputs({"--output": self.output}, [*self.runs, *([self.dataset] if self.dataset else [])])
        machine.set_up()
        display = Display(unit="images")
        with contextlib.closing(display):
            comparison = compare(
                self.runs, self.dataset, split=self.split, views=self.views, checkpoint=self.checkpoint,
                precision=self.precision, device=machine.choose_device(self.device), workers=self.workers,
                progress=display.counter("evaluating"),
            )  # fmt: skip
        for reason in comparison.left_out:
            warn(f"left out: {reason}")
        if self.json:
            print_json(dataclasses.asdict(comparison))
        else:
            _print(comparison)
        if self.output:
            from alexnet.figures.measured import write_curves

            sys.stdout.flush()
            write_curves(self.output, comparison)
            say_written([self.output], self.json)
        if comparison.left_out:
            count = len(comparison.left_out)
            raise AlexNetError(f"{plural(count, 'run')} could not be read, see above; the others were compared")
        return 0

    def _check(self) -> None:
        """Raises ``UsageError`` for options of a measurement where none is asked for."""
        if self.dataset is not None:
            return
        of_measuring = {field.name for field in dataclasses.fields(Scoring)} - {"workers"} | {"split"}
        for field in dataclasses.fields(self):
            if field.name in of_measuring and getattr(self, field.name) != field.default:
                option = f"--{field.name} {getattr(self, field.name)}"
                raise UsageError(f"{option}: takes a dataset to measure on; give --dataset, or leave {option} out")


def _print(comparison: "Comparison") -> None:
    runs = comparison.runs
    columns = ("run", "net", "epochs", "top-1 error", "95% interval", "best epoch", "its error", "training time")
    shown = table_of(*columns, right=range(2, 8))
    for run in runs:
        add_row(
            shown, run.name, run.net, _epochs(run), *_error(run), *_best(run), clock(run.seconds) if run.seconds else ""
        )
    print_table(shown)
    images = {run.images for run in runs if run.images}
    count = plural(images.pop(), f"{comparison.split} image") if len(images) == 1 else f"{comparison.split} images"
    views = views_text(comparison.views)
    where = f"of {comparison.dataset}, {views}" if comparison.dataset else f"of each run's own dataset, {views}"
    say(f"{count} {where}")
    has_table = _print_differences(comparison.recipe_differences, [run.name for run in runs])
    if has_table and comparison.seeds:
        say("")
    for seeds in comparison.seeds:
        names = ", ".join(seeds.runs)
        spread = f"{seeds.mean:.2%} ± {seeds.std:.2%} (mean and standard deviation of {len(seeds.runs)} seeds)"
        say(f"{names} differ by the seed alone: top-1 error {spread}")
    if any(run.difference for run in runs):
        _print_paired(runs)


def _epochs(run: "ComparedRun") -> str:
    done = "" if run.epochs is None else f"{run.epochs:.4g}"
    return done if run.epochs_asked in (None, run.epochs) else f"{done} of {run.epochs_asked:,}"


def _error(run: "ComparedRun") -> tuple[str, str]:
    if run.top1_error is None or run.top1_interval is None:
        return "not measured", ""
    return f"{run.top1_error:.2%}", interval_text(run.top1_interval)


def _best(run: "ComparedRun") -> tuple[str, str]:
    if run.best_epoch is None or run.best_error is None:
        return "", ""
    return f"{run.best_epoch:.4g}", f"{run.best_error:.2%}"


def _print_differences(differences: dict[str, list[Any]], names: Sequence[str]) -> bool:
    """A row a run, a column an option in which they differ. Says whether there is more than the seed to show."""
    if not differences:
        say("their recipes are the same")
    if set(differences) <= {"seed"}:
        return False
    shown = table_of("recipe differences", *(key.replace("_", "-") for key in differences))
    for i, name in enumerate(names):
        add_row(shown, name, *(_value(values[i]) for values in differences.values()))
    say("")
    print_table(shown)
    return True


def _value(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _print_paired(runs: Sequence["ComparedRun"]) -> None:
    first = runs[0].name
    shown = table_of(
        f"against {first}", "difference", "95% interval", "only it errs", f"only {first} errs", "p", right=range(1, 6)
    )
    for run in runs[1:]:
        if run.difference:
            paired = run.difference
            low, high = paired.interval
            counts = (f"{paired.only_second_wrong:,}", f"{paired.only_first_wrong:,}", f"{paired.p_value:.2g}")
            add_row(shown, run.name, f"{paired.difference:+.2%}", f"{low:+.1%} to {high:+.1%}", *counts)
    say("")
    print_table(shown)
    say("difference in top-1 error on the same images: interval by Newcombe's method 10, p of McNemar's exact test")
