"""Commands that measure trained runs: evaluate."""

import contextlib
import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from alexnet.cli.options import File, Scoring, Split, Working, check_outputs
from alexnet.cli.streams import print_json, say, say_written, warn
from alexnet.cli.tables import add_row, interval_text, print_table, table_of, views_text
from alexnet.errors import UsageError, check_threads
from alexnet.files import mistakes
from alexnet.progress import Display, plural

if TYPE_CHECKING:
    from alexnet.data.dataset import Dataset
    from alexnet.evaluation.classifier import Classifier
    from alexnet.evaluation.result import Evaluation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(Scoring, Working):
    """Measure top-1 and top-5 error of a run, or of an ensemble of runs whose outputs are averaged."""

    paths: Positional[Annotated[tuple[str, ...], arg(metavar="RUN... DATASET")]]
    """One run or more, then the dataset to measure them on."""

    split: Split = "val"
    """Split of the dataset to measure on."""

    checkpoint: Annotated[str, arg(metavar="{last,best,STEP,all}")] = "last"
    """Checkpoint to use: the last one, the best one (lowest validation error), or that of a step. all: every checkpoint
    that was kept, which gives a learning curve."""

    ensemble_weights: Annotated[tuple[float, ...], arg(metavar="W,...")] = ()
    """Weights of the runs' outputs, one per run, such as 0.3,0.7 (default: equal)."""

    tune_ensemble_weights: Split | None = None
    """Split to tune these weights on first, as the 2012 source does. Measure on another one (default: not tuned)."""

    per_class: File | None = None
    """CSV file to write the error, precision, recall and F1 of each class to. If its name ends in .png, the errors are
    drawn (default: none)."""

    confusion: File | None = None
    """CSV file to write the confusion matrix to: rows are true classes, columns predicted ones. If its name ends in
    .png, it is drawn (default: none)."""

    predictions: File | None = None
    """CSV file to write a line per image to: its name, true class, predicted class, and their probabilities (default:
    none)."""

    calibration: File | None = None
    """CSV file to write the calibration to: how often the net is right, by its probability. If its name ends in .png,
    it is drawn (default: none)."""

    curve: File | None = None
    """With --checkpoint all: PNG file to draw the learning curve to (default: none)."""

    probe: Annotated[tuple[str, ...], arg(metavar="LAYER,...")] = ()
    """Layers to probe, such as conv5,fc7: a linear classifier is fitted to the activations of each on the training
    images, and measured on --split. The dataset may have other classes than the run. (pip install 'alexnet[probe]')"""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.data.dataset import Dataset
        from alexnet.evaluation.cautions import cautions
        from alexnet.evaluation.classifier import load
        from alexnet.evaluation.evaluate import note_measurement

        self._check()
        machine.set_up()
        mistakes.check_order("evaluate", *(("run", path) for path in self.paths[:-1]), ("dataset", self.paths[-1]))
        check_outputs({**self._files(), "--curve": self.curve}, self.paths)
        dataset = Dataset(self.paths[-1])
        if self.checkpoint == "all":
            return self._learning_curve(dataset)
        device = machine.choose_device(self.device)
        runs = [load(path, self.checkpoint, device) for path in self.paths[:-1]]
        for line in cautions(
            runs, dataset, self.split, views=self.views, checkpoint=self.checkpoint,
            tuned_on=self.tune_ensemble_weights, probe=bool(self.probe),
        ):  # fmt: skip
            warn(line)
        if self.probe:
            return self._probe(runs[0], dataset)
        measured = self._measure(runs, dataset)
        self._print(runs, dataset, measured)
        if len(runs) == 1:
            note_measurement(runs[0].with_precision(self.precision), dataset, self.split, measured.errors)
        sys.stdout.flush()  # whatever becomes of the files, the figures are there
        self._write(measured, dataset)
        return 0

    def _files(self) -> dict[str, str | None]:
        """Files of one measurement, by their options."""
        names = ("per_class", "confusion", "predictions", "calibration")
        return {f"--{name.replace('_', '-')}": getattr(self, name) for name in names}

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
        file_option = next((option for option, file in self._files().items() if file), None)
        if self.predictions and self.predictions.lower().endswith(".png"):
            raise UsageError(f"--predictions {self.predictions}: is written as CSV; give a name that ends in .csv")
        if self.probe and (ensemble or self.views != 1 or file_option):
            raise UsageError(f"--probe: takes one run and one view, and no {file_option or '--ensemble-weights'}")
        if self.curve and self.checkpoint != "all":
            raise UsageError("--curve: draws the errors of all checkpoints; give --checkpoint all as well")
        if self.curve and not self.curve.lower().endswith(".png"):
            raise UsageError(f"--curve {self.curve}: is written as PNG; give a name that ends in .png")
        if self.checkpoint == "all" and (ensemble or self.probe or file_option):
            no = file_option or ("--probe" if self.probe else "second run" if runs > 1 else "--ensemble-weights")
            raise UsageError(f"--checkpoint all: measures one run's checkpoints, and takes no {no}")

    def _measure(self, runs: Sequence["Classifier"], dataset: "Dataset") -> "Evaluation":
        from alexnet.evaluation.ensemble import tune_ensemble_weights
        from alexnet.evaluation.evaluate import evaluate

        display = Display(unit="images")
        weights = self.ensemble_weights or None
        with contextlib.closing(display):
            if self.tune_ensemble_weights:
                weights = tune_ensemble_weights(
                    runs, dataset, self.tune_ensemble_weights, views=self.views, precision=self.precision,
                    workers=self.workers, progress=display.counter("tuning ensemble weights"),
                )  # fmt: skip
            return evaluate(
                runs, dataset, split=self.split, ensemble_weights=weights, keep_probabilities=False, views=self.views,
                precision=self.precision, workers=self.workers, progress=display.counter("evaluating"),
            )  # fmt: skip

    def _print(self, runs: Sequence["Classifier"], dataset: "Dataset", measured: "Evaluation") -> None:
        tuned, described = self.tune_ensemble_weights, measured.describe()
        if self.json:
            weights = {"ensemble_weights": measured.ensemble_weights, "ensemble_weights_tuned_on": tuned}
            per_class = dict(zip(dataset.classes, measured.class_errors.tolist()))
            where = {"runs": list(self.paths[:-1]), "steps": [run.step for run in runs]}
            where |= {"dataset": self.paths[-1], "split": self.split}
            print_json({**where, **described, **weights, "class_errors": per_class})
            return
        errors = measured.errors
        shown = table_of(" + ".join(run.name for run in runs), "error", "95% interval", right=(1, 2))
        add_row(shown, "top-1", f"{errors.top1_error:.2%}", interval_text(errors.top1_interval))
        if described["top5_error"] is not None:
            add_row(shown, "top-5", f"{errors.top5_error:.2%}", interval_text(errors.top5_interval))
        add_row(shown, "loss", f"{errors.loss:.4f}", "")
        print_table(shown)
        means = ", ".join(f"{name} {described[f'macro_{key}']:.1%}" for key, name in SCORES.items())
        say(f"mean over classes: {means}; calibration error (ECE) {described['ece']:.1%}")
        steps = " and ".join(dict.fromkeys(f"{run.step:,}" for run in runs))
        chosen = "" if self.checkpoint not in ("last", "best") else f"{self.checkpoint} checkpoint, "
        say(f"{self._images(errors.images)} of {dataset.path}, {views_text(self.views)}, {chosen}step {steps}")
        if len(runs) > 1:
            how = f"tuned on {tuned}" if tuned else "as given" if self.ensemble_weights else "equal"
            say(f"ensemble weights ({how}): {', '.join(f'{weight:.3f}' for weight in measured.ensemble_weights)}")

    def _images(self, count: int) -> str:
        return plural(count, f"{self.split} image")

    def _write(self, measured: "Evaluation", dataset: "Dataset") -> None:
        if self.predictions:
            measured.write_predictions(self.predictions, dataset)
        if self.per_class or self.confusion or self.calibration:
            from alexnet.figures import measured as figures

            if self.per_class:
                figures.write_class_errors(self.per_class, measured, dataset)
            if self.confusion:
                figures.write_confusion(self.confusion, measured, dataset)
            if self.calibration:
                figures.write_calibration(self.calibration, measured)
        say_written([*self._files().values()], self.json)

    def _learning_curve(self, dataset: "Dataset") -> int:
        from alexnet import machine
        from alexnet.evaluation.evaluate import note_measurement
        from alexnet.evaluation.learning_curve import learning_curve

        display, device = Display(unit="images"), machine.choose_device(self.device)
        with contextlib.closing(display):
            points = learning_curve(
                self.paths[0], dataset, split=self.split, views=self.views, precision=self.precision, device=device,
                workers=self.workers, progress=display.counter("evaluating"),
                note=lambda run, errors: note_measurement(run, dataset, self.split, errors),
            )  # fmt: skip
        if self.json:
            where = {"run": self.paths[0], "dataset": self.paths[-1], "split": self.split}
            print_json({**where, "checkpoints": [point.describe(len(dataset.classes)) for point in points]})
        else:
            shown = table_of("step", "epoch", "top-1 error", "95% interval", "", right=range(4))
            for point in points:
                epoch, errors = "" if point.epoch is None else f"{point.epoch:.2f}", point.errors
                cells = (f"{errors.top1_error:.2%}", interval_text(errors.top1_interval), point.label)
                add_row(shown, f"{point.step:,}", epoch, *cells)
            print_table(shown)
            say(f"{self._images(points[0].errors.images)} of {dataset.path}, {views_text(self.views)}")
        if self.curve:
            from alexnet.figures.measured import write_learning_curve

            sys.stdout.flush()
            write_learning_curve(self.curve, points, f"{self.paths[0]}: {self.split} images", len(dataset.classes))
            say_written([self.curve], self.json)
        return 0

    def _probe(self, run: "Classifier", dataset: "Dataset") -> int:
        from alexnet.evaluation.errors import described
        from alexnet.evaluation.probe import probe

        display, classes = Display(unit="images"), len(dataset.classes)
        with contextlib.closing(display):
            probes = probe(
                run, dataset, self.probe, split=self.split, workers=self.workers,
                progress=display.counter("computing activations"),
            )  # fmt: skip
        if self.json:
            return print_json([{**dataclasses.asdict(p), "errors": described(p.errors, classes)} for p in probes])
        columns = ("layer", "features", "L2 penalty", "top-1 error", "95% interval", "top-5 error")
        columns = columns if classes > 5 else columns[:-1]
        shown = table_of(*columns, right=range(1, 6))
        for layer in probes:
            errors = layer.errors
            cells = (f"{errors.top1_error:.2%}", interval_text(errors.top1_interval), f"{errors.top5_error:.2%}")
            row = (layer.layer, f"{layer.inputs:,}", f"{layer.decay:g}", *cells)
            add_row(shown, *row[: len(columns)])
        print_table(shown)
        images = self._images(probes[0].errors.images)
        say(f"{images} of {dataset.path}, a linear classifier on each layer")
        return 0


SCORES = {"precision": "precision", "recall": "recall", "f1": "F1"}
