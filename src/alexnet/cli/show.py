"""The command that draws a run: show."""

import contextlib
import dataclasses
from typing import Annotated, Any, Literal

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
    """Only images whose most probable class is wrong, those that give their true class least first; their names are
    printed."""

    count: int = 16
    """Number of images in the picture."""

    unit: Annotated[str | None, arg(metavar="LAYER:N")] = None
    """What drives a unit, such as conv5:17 (counted from 0): the nine images of the dataset that do it most, an image
    made for it, its mean response to each class. The first call looks at all images of the split, and keeps the
    strongest of all units beside the picture (default: none)."""

    layer: Annotated[str | None, arg(metavar="LAYER")] = None
    """Of each unit of a layer, what it sees of the image that drives it most (default: none)."""

    worst: int | None = None
    """So many images that give their true class least, with what speaks for the true class and for the most probable
    of the others (default: none)."""

    class_name: Annotated[str | None, arg(name="class", metavar="CLASS")] = None
    """With one image: the class that the maps are about, such as one that was not predicted (default: the most
    probable one). With --worst: only images of this class. Alone: what drives the class's unit."""

    format: Literal["png", "html"] = "png"
    """html: a report of the run on one page, which holds all it shows: curve, errors, confusion, mistakes, filters,
    net, recipe."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.figures.inside import is_one_image

        asked = self._asked()
        machine.set_up()
        one_image = is_one_image(self.run, self.images) and not self.only_errors
        if self.class_name and self.images and not one_image:
            raise UsageError("--class: the maps are of one image; give one file")
        if asked is None and not one_image:
            return self._pictures()
        written: list[str] = []
        display = Display(unit="images")
        with contextlib.closing(display):
            described = self._described(written, display)
        if self.json:
            return print_json({"pictures": written, **described})
        for image in described.get("images", []):
            keys = ("image", "true_class", "true_class_probability", "prediction", "probability")
            say(_line(*(image[key] for key in keys)))
        for path in written:
            say(path)
        return 0

    def _asked(self) -> str | None:
        """The option that asks for a picture of another kind. Raises ``UsageError`` for several, or with images."""
        options = {
            "--unit": self.unit,
            "--layer": self.layer,
            "--worst": self.worst,
            "--format html": self.format == "html",
        }
        asked = [option for option, value in options.items() if value is not None and value is not False]
        if self.class_name and not self.images and asked != ["--worst"]:
            asked.append("--class")
        if self.only_errors and asked:
            asked.append("--only-errors")
        if len(asked) > 1:
            raise UsageError(f"{asked[0]} and {asked[1]}: give one of them")
        if asked and self.images:
            raise UsageError(f"{asked[0]}: takes no image files: the images are the dataset's; leave these out")
        return asked[0] if asked else None

    def _described(self, written: list[str], display: Display) -> dict[str, Any]:
        """Draws what is asked for; gives what is on it in numbers."""
        from alexnet import machine

        common: dict[str, Any] = {
            "output": self.output,
            "checkpoint": self.checkpoint,
            "device": machine.choose_device(self.device),
            "wrote": lambda path: written.append(str(path)),
        }
        if self.images:
            from alexnet.figures.inside import show_inside

            return show_inside(self.run, self.images[0], label=self.class_name, **common)
        common |= {"dataset": self.dataset, "split": self.split}
        if self.worst is not None:
            from alexnet.figures.worst import MOST, show_worst

            check_number("--worst", self.worst, 1, MOST)
            counter = display.counter("measuring")
            return show_worst(self.run, self.worst, label=self.class_name, progress=counter, **common)
        if self.format == "html":
            from alexnet.figures.report import show_report

            counter = display.counter("measuring")
            return show_report(self.run, note=lambda line: warn(f"note: {line}"), progress=counter, **common)
        from alexnet.figures.units import show_class, show_layer, show_unit

        common["progress"] = display.counter("looking for what drives the units")
        if self.unit:
            return show_unit(self.run, self.unit, **common)
        if self.layer:
            return show_layer(self.run, self.layer, **common)
        return show_class(self.run, str(self.class_name), **common)

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
            some = f"; the {len(drawn.shown):,} that give their true class least"
            say(f"{drawn}{some if drawn.wrong > len(drawn.shown) else ''}:")
            for mistake in drawn.shown:
                say(_line(*dataclasses.astuple(mistake)))
        for path in written:
            say(path)


def _line(image: str, true: str, true_share: float, prediction: str, share: float) -> str:
    """An image with its prediction and its true class."""
    if prediction == true:
        return f"{image}: right, {true} {true_share:.1%}"
    return f"{image}: {prediction} {share:.1%}, true: {true} {true_share:.1%}"
