"""Commands for a trained run: predict, show."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from tyro.conf import Positional, arg

from alexnet import files
from alexnet.cli.options import File, Folder, OfCheckpoint, OnDevice, Scoring, Split, Working, check_outputs
from alexnet.cli.streams import print_json, say, warn, write_json
from alexnet.errors import AlexNetError, UsageError, check_number, check_threads
from alexnet.files import mistakes
from alexnet.progress import Display, plural


@dataclasses.dataclass(frozen=True)
class Predict(Scoring, Working):
    """Predict the most probable classes of images."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """A trained or imported run."""

    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE...")]]
    """Image files, or folders or archives of images."""

    top: int = 5
    """Number of classes per image."""

    min_confidence: float = 0.0
    """Mark images as unsure if their most probable class has a lower probability."""

    csv: File | None = None
    """CSV file to write the predictions to (default: lines on the standard output)."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.evaluation.classifier import load
        from alexnet.evaluation.predict import predict

        self._check()
        mistakes.check_order("predict", ("run", self.run), *(("images", path) for path in self.images))
        check_outputs({"--csv": self.csv}, [self.run, *self.images])
        machine.set_up()
        run = load(self.run, self.checkpoint, machine.choose_device(self.device))
        display = Display(bool(self.csv) or not sys.stdout.isatty(), unit="images")  # else the lines show how far it is
        predictions = predict(
            run,
            self.images,
            top=self.top,
            views=self.views,
            precision=self.precision,
            workers=self.workers,
            note=warn,
            progress=display.counter("predicting"),
        )
        good = bad = 0
        with contextlib.closing(display), self._writer(min(self.top, len(run.classes))) as write:
            for prediction in predictions:
                if prediction.problem:
                    bad += 1
                    warn(f"{prediction.name}: {prediction.problem}")
                else:
                    good += 1
                write(prediction)
        if self.csv:
            say(f"{plural(good, 'prediction')} in {self.csv}")
        if bad and not good:
            raise AlexNetError(
                "the image could not be read" if bad == 1 else f"not one of {bad:,} images could be read"
            )
        if bad:
            raise AlexNetError(
                f"{bad:,} of {good + bad:,} images could not be read, see above; the others were predicted"
            )
        return 0

    def _check(self) -> None:
        """Raises ``UsageError`` for what is missing or invalid."""
        if not self.images:
            raise UsageError(f"alexnet predict {self.run}: give images or folders")
        check_number("--top", self.top, 1)
        check_threads("--workers", self.workers)
        if self.csv and self.json:
            raise UsageError("--csv and --json: give one of them")
        if not 0 <= self.min_confidence <= 1:
            raise UsageError(f"--min-confidence {self.min_confidence}: must be between 0 and 1")

    @contextlib.contextmanager
    def _writer(self, top: int) -> Iterator[Callable[[Any], None]]:
        """What takes predictions one by one, and writes them as lines, JSON or CSV."""
        if not self.csv:
            yield self._print
            return
        with files.atomic(self.csv) as file:
            ranks = [f"{what}{rank}" for rank in range(1, top + 1) for what in ("class", "probability")]
            labels = [f"label{rank}" for rank in range(1, top + 1)]  # as the dataset has them; class1 is in words
            file.write(files.to_csv([["image", "unsure", "problem", *ranks, *labels]]))

            def write(prediction: Any) -> None:
                pairs = [cell for name, share in prediction.top for cell in (name, f"{share:.6f}")]
                pairs += [""] * (2 * top - len(pairs))
                classes = prediction.classes + [""] * (top - len(prediction.classes))
                unsure = "" if prediction.problem else int(self._is_unsure(prediction))
                file.write(files.to_csv([[prediction.name, unsure, prediction.problem or "", *pairs, *classes]]))

            yield write

    def _is_unsure(self, prediction: Any) -> bool:
        return bool(prediction.top) and prediction.top[0][1] < self.min_confidence

    def _print(self, prediction: Any) -> None:
        if self.json:
            described = {**dataclasses.asdict(prediction), "unsure": self._is_unsure(prediction)}
            write_json(described, None)
        elif not prediction.problem:
            names = [
                name if name == label else name.partition(", ")[0]  # of synonyms the first
                for label, (name, _) in zip(prediction.classes, prediction.top)
            ]
            shown = ", ".join(f"{name} {share:.1%}" for name, (_, share) in zip(names, prediction.top))
            mark = "unsure: " if self._is_unsure(prediction) else ""
            say(f"{prediction.name}: {mark}{shown}")


@dataclasses.dataclass(frozen=True)
class Show(OfCheckpoint, OnDevice, Working):
    """Draw a run's error curve, its first filters (Figure 3), and predictions as bar charts (Figure 4)."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """Run to draw."""

    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE...")]] = ()
    """Files or folders to predict (default: images of the dataset's validation split)."""

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

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.figures.show import MOST_PICTURES, Mistakes, show

        check_number("--count", self.count, 1, MOST_PICTURES)
        machine.set_up()
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
