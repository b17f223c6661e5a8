"""Commands that train and measure by a plan: demo."""

import dataclasses
from typing import Annotated

from tyro.conf import Positional, arg

from alexnet.cli.streams import print_json, say
from alexnet.cli.tables import add_row, interval_text, print_table, table_of
from alexnet.progress import clock


@dataclasses.dataclass(frozen=True)
class Demo:
    """Draws a data set, trains on it, measures, and shows what came of it; offline, in minutes."""

    folder: Positional[Annotated[str, arg(metavar="FOLDER")]] = "demo"
    """Folder to write to; given again, it goes on where it was stopped."""

    quick: bool = False
    """Less data, under a minute."""

    seed: int = 0
    """Of the training; the data set is always the same."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:N, mps."""

    json: bool = False
    """Prints the figures as JSON."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.experiments.demo import demo

        machine.set_up()
        found = demo(self.folder, quick=self.quick, seed=self.seed, device=self.device)
        if self.json:
            return print_json(dataclasses.asdict(found))
        shown = table_of("AlexNet on synthetic images", "error", "95% interval", right=(1, 2))
        add_row(shown, "one view", f"{found.one_view.top1_error:.1%}", interval_text(found.one_view.top1_interval))
        add_row(shown, "ten views", f"{found.ten_views.top1_error:.1%}", interval_text(found.ten_views.top1_interval))
        add_row(shown, "chance", f"{found.chance:.1%}", "")
        print_table(shown)
        say(
            f"{found.training_images:,} images, {found.epochs} epochs, trained in {clock(found.training_seconds)}, "
            f"measured on {found.one_view.images:,} others"
        )
        say("Look at:")
        for path in found.pictures:
            say(f"  {path}")
        return 0
