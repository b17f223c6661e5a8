"""Commands that train and measure by a plan: demo."""

import dataclasses

from tyro.conf import Positional

from alexnet.cli.options import Folder, Json, OnDevice
from alexnet.cli.streams import print_json, say
from alexnet.cli.tables import add_row, interval_text, print_table, table_of
from alexnet.progress import clock


@dataclasses.dataclass(frozen=True)
class Demo(OnDevice, Json):
    """Draw a synthetic data set, train on it, evaluate, and show the result; offline, in minutes."""

    folder: Positional[Folder] = "demo"
    """Folder to write to. If interrupted, run the same command to resume."""

    quick: bool = False
    """Use less data: under a minute."""

    seed: int = 0
    """Random seed of the training; the data set is always the same."""

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
