"""Commands that train and measure by a plan: demo, reproduce."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from tyro.conf import Positional, arg

from alexnet.cli.options import Folder, OnDevice, Working, seed_list
from alexnet.cli.streams import print_json, say
from alexnet.cli.tables import add_row, interval_text, print_table, table_of
from alexnet.errors import Interrupted, UsageError
from alexnet.progress import clock, plural

MEASURED = "measured once, on two cores of an AMD EPYC"


@dataclasses.dataclass(frozen=True)
class Demo(OnDevice, Working):
    """Make a synthetic data set, train on it, evaluate and show the result. Works offline, in minutes."""

    folder: Positional[Folder] = "demo"
    """Folder to write to. If interrupted, run the same command to resume."""

    quick: bool = False
    """Use fewer images, of half the side: about a minute. The net then errs on about half of them."""

    seed: int = 0
    """Random seed of the training. The data set is always the same."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.experiments.demo import demo

        machine.set_up()
        result = demo(self.folder, quick=self.quick, seed=self.seed, device=self.device)
        if self.json:
            return print_json(dataclasses.asdict(result))
        shown = table_of("AlexNet on synthetic images", "error", "95% interval", right=(1, 2))
        add_row(shown, "one view", f"{result.one_view.top1_error:.1%}", interval_text(result.one_view.top1_interval))
        add_row(shown, "ten views", f"{result.ten_views.top1_error:.1%}", interval_text(result.ten_views.top1_interval))
        add_row(shown, "chance", f"{result.chance:.1%}", "")
        print_table(shown)
        say(
            f"{result.training_images:,} images, {result.epochs} epochs, trained in {clock(result.training_seconds)}, "
            f"evaluated on {result.one_view.images:,} validation images"
        )
        say("Look at:")
        for path in result.pictures:
            say(f"  {path}")
        return 0


@dataclasses.dataclass(frozen=True)
class Reproduce(OnDevice, Working):
    """Run an experiment of the docs, and write its raw figures, table and figure. Without a name, list them."""

    experiment: Positional[Annotated[str, arg(metavar="EXPERIMENT")]] = ""
    """Name of an experiment."""

    folder: Positional[Annotated[str, arg(metavar="FOLDER")]] = ""
    """Folder to write to. If interrupted, run the same command to resume."""

    data: Annotated[str | None, arg(metavar="DATA")] = None
    """A dataset, or images as `alexnet prepare` takes them (default: synthetic images)."""

    conditions: tuple[str, ...] | None = None
    """Conditions to run: some of the experiment's, or others of their form; alexnet reproduce --json lists them
    (default: all of the experiment's)."""

    seeds: Annotated[str | None, arg(metavar="SEEDS")] = None
    """Random seeds, 0..9 or 0,3,7 (default: the experiment's)."""

    scale: Annotated[str | None, arg(metavar="SCALE")] = None
    """minutes, hours or paper, as far as the experiment has it; or a share of its epochs, steps or drawn images, above
    0 and at most 1, with all of its conditions and seeds (default: its smallest)."""

    dry_run: bool = False
    """Say what would be measured, and what is measured already; write nothing."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.experiments import known, runner

        if not self.experiment:
            for option in ("data", "conditions", "seeds", "scale", "dry_run", "device"):
                if getattr(self, option) != getattr(Reproduce, option):
                    flag = option.replace("_", "-")
                    raise UsageError(f"--{flag}: of which experiment? Give its name; `alexnet reproduce` lists them")
            listed = known.listing()
            return print_json(listed) if self.json else _print_experiments(listed)
        if not self.folder:
            known.named(self.experiment)
            raise UsageError(f"alexnet reproduce {self.experiment}: give a folder to write to")
        machine.set_up()
        wanted: dict[str, Any] = {"data": self.data, "conditions": self.conditions, "scale": self.scale}
        wanted["seeds"] = None if self.seeds is None else seed_list(self.seeds)
        if self.dry_run:
            return self._dry_run(wanted)
        try:
            result = runner.reproduce(self.experiment, self.folder, **wanted, device=self.device)
        except KeyboardInterrupt as error:
            raise Interrupted(f"{self.folder}: interrupted; the same command goes on from there") from error
        if self.json:
            return print_json(dataclasses.asdict(result))
        for line in result.table:
            say(line)
        say(f"{result.folder}: raw.jsonl, table.md, figure.png, figure.svg")
        return 0

    def _dry_run(self, wanted: dict[str, Any]) -> int:
        from alexnet.experiments import plans

        plan = plans.plan(self.experiment, self.folder, **wanted)
        missing = plans.check(plan, self.folder, device=self.device)
        if self.json:
            shown = {key: value for key, value in vars(plan).items() if key != "datasets"}
            counts = {dataset.path: dataset.splits for dataset in plan.datasets.values()}
            return print_json({**shown, "datasets": counts, "sees": plan.sees(), "missing": missing})
        for line in (*plan.lines(), *filter(None, [plan.sees()])):
            say(line)
        for condition in plan.conditions:
            seeds = [f"{seed}" if (condition, seed) in missing else f"{seed} (measured)" for seed in plan.seeds]
            say(f"  {condition}: {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(seeds)}")
        if not missing:
            say("all is measured; table and figure would be drawn")
        elif plan.minutes:
            say(f"time: all of this scale took at most {plural(plan.minutes, 'minute')}, {MEASURED}")
        else:
            say("time: not known")
        say("dry run: nothing was written")
        return 0


def _print_experiments(listed: Mapping[str, Mapping[str, Any]]) -> int:
    """Each with what the paper says, the images that it needs, and its sizes. Returns 0, the exit status."""
    from alexnet.experiments.asked import listed as in_a_line

    shown = table_of("", "")
    shown.show_header = False
    for name, entry in listed.items():
        add_row(shown, name, entry["description"])
        takes = entry.get("takes") and f"{entry['takes']}; without --data drawn images"
        says = {"the paper": entry.get("paper"), "needs": entry.get("needs"), "takes": takes}
        says["conditions"] = in_a_line(entry["conditions"]) if len(entry["conditions"]) > 1 else None
        minutes = {scale: f" ({count:,} minutes)" for scale, count in entry.get("minutes", {}).items()}
        scales = {
            f"--scale {scale}": words + minutes.get(scale, "") for scale, words in entry.get("scales", {}).items()
        }
        for label, words in (says | scales).items():
            if words:
                add_row(shown, "", f"{label}: {words}")
    print_table(shown)
    say("Run one: alexnet reproduce NAME FOLDER [--data DATA] [--scale SCALE]; its smallest scale is the default.")
    say("--dry-run says what it would measure, and writes nothing.")
    say("Needs, takes: what to give as --data. Errors in pairs: top-1 / top-5, in percent.")
    say(f"Minutes: {MEASURED}, some beside other work. Scales without them were not.")
    return 0
