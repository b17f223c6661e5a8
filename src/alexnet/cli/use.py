"""Commands for a trained run: evaluate, predict, show."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

from tyro.conf import Positional, arg

from alexnet import files
from alexnet.cli.options import File, Folder, Json, OfCheckpoint, OnDevice, Scoring, Split, Working, check_outputs
from alexnet.cli.streams import print_json, say, warn, write_json
from alexnet.cli.tables import add_row, interval_text, print_table, table_of
from alexnet.errors import AlexNetError, UsageError, check_number, check_threads
from alexnet.progress import Display


@dataclasses.dataclass(frozen=True)
class Evaluate(Scoring, Working):
    """Measure top-1 and top-5 error of a run, or of an ensemble of runs whose outputs are averaged."""

    paths: Positional[Annotated[tuple[str, ...], arg(metavar="RUN... DATASET")]]
    """One run or more, then the dataset whose images they are measured on."""

    split: Split = "val"
    """Images to measure on."""

    ensemble_weights: Annotated[tuple[float, ...], arg(metavar="W,...")] = ()
    """Weights of the runs' outputs, one per run: 0.5,0.5 (default: equal)."""

    tune_ensemble_weights: Split | None = None
    """Tune these weights on this split first, as the 2012 source does (default: not tuned)."""

    per_class: File | None = None
    """CSV file to write the error of each class to (default: none)."""

    confusion: File | None = None
    """CSV file to write the confusion matrix to: rows are true classes, columns predicted ones (default: none)."""

    probe: Annotated[tuple[str, ...], arg(metavar="LAYER,...")] = ()
    """Layers, conv5,fc7: instead of the run's own last layer, a linear classifier is fitted to each one's activations
    on the training images, and measured on --split. The dataset may have classes of its own. (pip install
    'alexnet[probe]')"""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.data.dataset import Dataset
        from alexnet.evaluation import evaluate as measuring
        from alexnet.evaluation.classifier import load

        self._check()
        machine.set_up()
        check_outputs({"--per-class": self.per_class, "--confusion": self.confusion}, self.paths)
        dataset = Dataset(self.paths[-1])
        device = machine.choose_device(self.device)
        runs = [load(path, self.checkpoint, device) for path in self.paths[:-1]]
        more = [run for run in runs if not self.probe and measuring.class_places(run, dataset) is not None]
        for warning in filter(None, (measuring.prepared_otherwise(run, dataset) for run in runs)):
            warn(f"warning: {warning}")
        if self.probe:
            return self._probe(runs[0], dataset)
        for run in more:
            warn(
                f"note: {run.path} knows {len(run.classes):,} classes; measured among the {len(dataset.classes):,} "
                f"of {dataset.path} alone"
            )
        measured = self._measure(runs, dataset)
        self._print(runs, dataset, measured)
        sys.stdout.flush()  # whatever becomes of the files, the figures are there
        if self.per_class:
            measured.write_class_errors(self.per_class, dataset.classes)
        if self.confusion:
            measured.write_confusion(self.confusion, dataset.classes)
        return 0

    def _check(self) -> None:
        """Raises ``UsageError`` where options contradict each other."""
        runs = len(self.paths) - 1
        if runs < 1:
            raise UsageError(f"{' '.join(['alexnet evaluate', *self.paths])}: give one run or more, then the dataset")
        if self.ensemble_weights and self.tune_ensemble_weights:
            raise UsageError("--ensemble-weights and --tune-ensemble-weights: give one of them")
        if self.ensemble_weights and len(self.ensemble_weights) != runs:
            count = len(self.ensemble_weights)
            raise UsageError(f"--ensemble-weights: {count} given for {runs} runs; give one per run")
        check_threads("--workers", self.workers)
        ensemble = runs > 1 or self.ensemble_weights or self.tune_ensemble_weights
        if self.probe and (ensemble or self.views != 1 or self.per_class or self.confusion):
            raise UsageError(
                "--probe: takes one run and one view, and no --ensemble-weights, --per-class or --confusion"
            )

    def _measure(self, runs: Sequence[Any], dataset: Any) -> Any:
        from alexnet.evaluation import evaluate as measuring

        display = Display(unit="images")
        options = {"views": self.views, "precision": self.precision, "workers": self.workers}
        weights = self.ensemble_weights or None
        with contextlib.closing(display):
            if self.tune_ensemble_weights:
                progress = display.counter("tuning ensemble weights")
                weights = measuring.find_shares(runs, dataset, self.tune_ensemble_weights, progress=progress, **options)
            return measuring.evaluate(
                runs, dataset, split=self.split, shares=weights, keep_probabilities=False,
                progress=display.counter("evaluating"), **options,
            )  # fmt: skip

    def _print(self, runs: Sequence[Any], dataset: Any, measured: Any) -> None:
        errors = measured.errors
        if self.json:
            weights = {"shares": measured.shares, "shares_searched_on": self.tune_ensemble_weights}
            per_class = dict(zip(dataset.classes, measured.class_errors.tolist()))
            described = {"runs": list(self.paths[:-1]), "dataset": self.paths[-1], "split": self.split}
            print_json({**described, **dataclasses.asdict(errors), **weights, "class_errors": per_class})
            return
        names = " + ".join(run.name for run in runs)
        shown = table_of(names, "error", "95% interval", right=(1, 2))
        add_row(shown, "top-1", f"{errors.top1_error:.2%}", interval_text(errors.top1_interval))
        if len(dataset.classes) > 5:
            add_row(shown, "top-5", f"{errors.top5_error:.2%}", interval_text(errors.top5_interval))
        add_row(shown, "loss", f"{errors.loss:.4f}", "")
        print_table(shown)
        views = "one view" if self.views == 1 else f"{self.views} views"
        say(f"{errors.images:,} {self.split} images of {dataset.path}, {views}")
        if len(runs) > 1:
            tuned = self.tune_ensemble_weights
            how = f"tuned on {tuned}" if tuned else "as given" if self.ensemble_weights else "equal"
            say(f"ensemble weights ({how}): {', '.join(f'{weight:.3f}' for weight in measured.shares)}")

    def _probe(self, run: Any, dataset: Any) -> int:
        from alexnet.evaluation.probe import probe

        display = Display(unit="images")
        with contextlib.closing(display):
            probes = probe(
                run, dataset, self.probe, split=self.split, workers=self.workers,
                progress=display.counter("computing activations"),
            )  # fmt: skip
        if self.json:
            return print_json([dataclasses.asdict(layer) for layer in probes])
        columns = ("layer", "features", "L2 penalty", "top-1 error", "95% interval", "top-5 error")
        shown = table_of(*columns, right=range(1, 6))
        for layer in probes:
            errors = layer.errors
            add_row(shown, 
                layer.layer, f"{layer.inputs:,}", f"{layer.decay:g}", f"{errors.top1_error:.2%}",
                interval_text(errors.top1_interval), f"{errors.top5_error:.2%}",
            )  # fmt: skip
        print_table(shown)
        say(f"{probes[0].errors.images:,} {self.split} images of {dataset.path}, a linear classifier on each layer")
        return 0


@dataclasses.dataclass(frozen=True)
class Predict(Scoring, Working):
    """Predict the most probable classes of images."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """A trained run."""

    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE...")]]
    """Files, or folders or archives whose images are all taken."""

    top: int = 5
    """Classes per image."""

    min_confidence: float = 0.0
    """Mark images whose most probable class has a lower probability than this as unsure."""

    csv: File | None = None
    """CSV file to write to (default: lines on the standard output)."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.evaluation.classifier import load
        from alexnet.evaluation.predict import predict

        self._check()
        check_outputs({"--csv": self.csv}, [self.run, *self.images])
        machine.set_up()
        run = load(self.run, self.checkpoint, machine.choose_device(self.device))
        predictions = predict(
            run,
            self.images,
            top=self.top,
            views=self.views,
            precision=self.precision,
            workers=self.workers,
            note=warn,
        )
        good = bad = 0
        with self._writer(min(self.top, len(run.classes))) as write:
            for prediction in predictions:
                if prediction.problem:
                    bad += 1
                    warn(f"{prediction.name}: {prediction.problem}")
                else:
                    good += 1
                write(prediction)
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
            file.write(files.to_csv([["image", "unsure", "problem", *ranks]]))

            def write(prediction: Any) -> None:
                pairs = [cell for name, share in prediction.top for cell in (name, f"{share:.6f}")]
                pairs += [""] * (2 * top - len(pairs))
                unsure = int(self._is_unsure(prediction))
                file.write(files.to_csv([[prediction.name, unsure, prediction.problem or "", *pairs]]))

            yield write

    def _is_unsure(self, prediction: Any) -> bool:
        return bool(prediction.top) and prediction.top[0][1] < self.min_confidence

    def _print(self, prediction: Any) -> None:
        if self.json:
            described = {**dataclasses.asdict(prediction), "unsure": self._is_unsure(prediction)}
            write_json(described, None)
        elif not prediction.problem:
            shown = ", ".join(f"{name} {share:.1%}" for name, share in prediction.top)
            mark = "unsure: " if self._is_unsure(prediction) else ""
            say(f"{prediction.name}: {mark}{shown}")


@dataclasses.dataclass(frozen=True)
class Show(OfCheckpoint, OnDevice, Json):
    """Draw a run's error curve, its first filters (Figure 3), and predictions as bar charts (Figure 4)."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """A run."""

    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE...")]] = ()
    """Files or folders to predict (default: images of the dataset's validation split)."""

    output: Folder | None = None
    """Folder to write the pictures to (default: the run's own)."""

    dataset: Annotated[str | None, arg(metavar="DATASET")] = None
    """Where images come from (default: the dataset that the run was trained on)."""

    split: Split | None = None
    """Which images of the dataset (default: val)."""

    only_errors: bool = False
    """Only images whose most probable class is wrong, the most certain errors first; their names are printed."""

    count: int = 16
    """Images in the picture."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.figures.show import MOST_PICTURES, Mistakes, show

        check_number("--count", self.count, 1, MOST_PICTURES)
        machine.set_up()
        written: list[str] = []
        errors: list[Mistakes] = []
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
            )
        finally:  # whatever becomes of the others, these are there
            if not self.json:
                self._say(written, errors)
        if self.json and self.only_errors:
            return print_json({"pictures": written, "errors": [dataclasses.asdict(entry) for entry in errors]})
        return print_json(written) if self.json else 0

    def _say(self, written: list[str], errors: Any) -> None:
        """The errors that are drawn, and the files."""
        for mistakes in errors:
            say(f"{mistakes}{', the most certain:' if mistakes.wrong > len(mistakes.shown) else ':'}")
            for mistake in mistakes.shown:
                say(f"{mistake.name}: {mistake.prediction} {mistake.probability:.1%}, true: {mistake.true_class}")
        for path in written:
            say(path)
