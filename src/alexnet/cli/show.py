"""The command that draws a run: show."""

import contextlib
import dataclasses
from typing import Annotated, Any

from tyro.conf import Positional, arg

from alexnet.cli.options import Folder, OfCheckpoint, OnDevice, Split, Working
from alexnet.cli.streams import print_json, say, warn
from alexnet.errors import UsageError, check_number
from alexnet.progress import Display


@dataclasses.dataclass(frozen=True)
class Show(OfCheckpoint, OnDevice, Working):
    """Draw a run: error curve, filters (Figure 3), predictions (Figure 4); or one image on its way through the net."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """Run to draw."""

    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE...")]] = ()
    """One image file: what each layer makes of it, and what the answer depends on. Several, or folders: predictions
    (default: images of the dataset's validation split)."""

    output: Folder | None = None
    """Folder to write the pictures to (default: the run's own)."""

    dataset: Annotated[str | None, arg(metavar="DATASET")] = None
    """Dataset to take images from (default: the one that the run was trained on)."""

    split: Split | None = None
    """Split of the dataset (default: val)."""

    only_errors: bool = False
    """Only images whose most probable class is wrong, the most certain errors first (those that give their
    true class least); their names are printed."""

    count: int = 16
    """Number of images in the picture."""

    unit: Annotated[str | None, arg(metavar="LAYER:N")] = None
    """What drives a unit, such as conv5:17 (counted from 0): the nine images of the dataset that do it most, an image
    made for it, its mean response to each class. The first call looks at all images of the split, and keeps the
    strongest of all units beside the picture."""

    layer: Annotated[str | None, arg(metavar="LAYER")] = None
    """Of each unit of a layer, what it sees of the image that drives it most."""

    class_name: Annotated[str | None, arg(name="class", metavar="CLASS")] = None
    """With one image: the class that the maps are about, such as one that was not predicted (default: the most
    probable one)."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.figures.inside import is_one_image

        self._check()
        machine.set_up()
        if self.unit or self.layer:
            return self._units()
        if is_one_image(self.run, self.images):
            return self._inside()
        if self.class_name:
            raise UsageError("--class: give one image file, whose maps are to be about this class")
        return self._pictures()

    def _check(self) -> None:
        """Raises ``UsageError`` for options that exclude each other."""
        asked = [option for option, value in (("--unit", self.unit), ("--layer", self.layer)) if value]
        if len(asked) > 1:
            raise UsageError(f"{asked[0]} and {asked[1]}: give one of them")
        if asked and self.images:
            raise UsageError(f"{asked[0]}: takes no image files: the images are the dataset's; leave these out")
        for option, value in (("--only-errors", self.only_errors), ("--class", self.class_name)):
            if asked and value:
                raise UsageError(f"{asked[0]} and {option}: give one of them")

    def _units(self) -> int:
        """What drives a unit, or each unit of a layer."""
        from alexnet import machine
        from alexnet.figures.units import show_layer, show_unit

        written: list[str] = []
        display = Display(unit="images")
        with contextlib.closing(display):
            described = (show_unit if self.unit else show_layer)(
                self.run,
                str(self.unit or self.layer),
                output=self.output,
                dataset=self.dataset,
                split=self.split,
                checkpoint=self.checkpoint,
                device=machine.choose_device(self.device),
                wrote=lambda path: written.append(str(path)),
                progress=display.counter("looking for what drives the units"),
            )
        return self._done(written, described)

    def _inside(self) -> int:
        """One image on its way through the net."""
        from alexnet import machine
        from alexnet.figures.inside import show_inside

        written: list[str] = []
        described = show_inside(
            self.run,
            self.images[0],
            output=self.output,
            label=self.class_name,
            checkpoint=self.checkpoint,
            device=machine.choose_device(self.device),
            wrote=lambda path: written.append(str(path)),
        )
        return self._done(written, described)

    def _done(self, written: list[str], described: dict[str, Any]) -> int:
        """Names the files that were written; as JSON with what is on them in numbers."""
        if self.json:
            return print_json({"pictures": written, **described})
        for path in written:
            say(path)
        return 0

    def _pictures(self) -> int:
        """Curve, filters and predictions."""
        from alexnet import machine
        from alexnet.figures.show import MOST_PICTURES, Mistakes, show

        check_number("--count", self.count, 1, MOST_PICTURES)
        written: list[str] = []
        errors: list[Mistakes] = []
        display = Display(unit="images")
        try:
            show(
                self.run,
                self.images,
                output=self.output,
                dataset=self.dataset,
                split=self.split,
                only_errors=self.only_errors,
                count=self.count,
                checkpoint=self.checkpoint,
                device=machine.choose_device(self.device),
                note=lambda line: warn(f"note: {line}"),
                wrote=lambda path: written.append(str(path)),
                mistaken=errors.append,
                progress=display.counter("looking for errors"),
            )
        finally:  # whatever becomes of the others, these are there
            display.close()
            if not self.json:
                self._say(written, errors)
        if self.json and self.only_errors:
            return print_json({"pictures": written, "errors": [dataclasses.asdict(entry) for entry in errors]})
        return print_json(written) if self.json else 0

    def _say(self, written: list[str], errors: Any) -> None:
        """The errors that are drawn, and the files."""
        for drawn in errors:
            say(f"{drawn}{', the most certain:' if drawn.wrong > len(drawn.shown) else ':'}")
            for mistake in drawn.shown:
                say(f"{mistake.name}: {mistake.prediction} {mistake.probability:.1%}, true: {mistake.true_class}")
        for path in written:
            say(path)
