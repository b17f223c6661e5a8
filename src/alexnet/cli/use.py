"""The command that uses a trained run: predict."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

from tyro.conf import Positional, arg

from alexnet import files
from alexnet.cli.options import File, Scoring, Working, check_outputs
from alexnet.cli.streams import say, warn, write_json
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
