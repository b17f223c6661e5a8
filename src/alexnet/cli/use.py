"""Commands for a trained run: evaluate, predict, show."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from alexnet import files
from alexnet.cli.options import check_outputs
from alexnet.cli.streams import print_json, say, warn, write_json
from alexnet.cli.tables import add_row, interval_text, print_table, table_of
from alexnet.errors import AlexNetError, UsageError, check_number, check_threads
from alexnet.progress import Display


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Measures top-1 and top-5 error of a run, or of several whose outputs are averaged."""

    paths: Positional[Annotated[tuple[str, ...], arg(metavar="RUN... DATASET")]]
    """One run or more, then the dataset whose images they are measured on."""

    split: Literal["train", "val", "test"] = "val"
    """Which images."""

    views: Literal[1, 9, 10] = 1
    """1: the center. 10: corners and center, and their mirrors (paper 4.1). 9: a 3x3 grid (2012 source on CIFAR-10)."""

    shares: tuple[float, ...] | None = None
    """Weight of each run's outputs; equal if not given."""

    search_shares: Literal["train", "val", "test"] | None = None
    """Searches the shares on this split first, as the 2012 source does."""

    checkpoint: Literal["last", "best"] = "last"
    """Which weights of a run."""

    per_class: str | None = None
    """CSV file to write each class's error to."""

    confusion: str | None = None
    """CSV file to write the confusion matrix to: rows are right classes, columns predicted ones."""

    precision: Literal["auto", "float32", "bf16", "fp16", "int8"] = "auto"
    """Of products. int8: the fully connected layers' weights are rounded to int8, the rest is as with auto."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:N, mps."""

    loaders: int = 2
    """Threads that decode images."""

    probe: tuple[str, ...] = ()
    """Layers: instead of the run's own last layer, a linear classifier is fitted to each one's activations on the
    training images, and measured on --split. The dataset may have classes of its own. (pip install 'alexnet[probe]')"""

    json: bool = False
    """As JSON."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.data.dataset import Dataset
        from alexnet.evaluation import evaluate as evaluation
        from alexnet.evaluation.classifier import load

        if len(self.paths) < 2:
            raise UsageError(f"{' '.join(['alexnet evaluate', *self.paths])}: give one run or more, then the dataset")
        if self.shares and self.search_shares:
            raise UsageError("--shares and --search-shares: give one of them")
        if self.shares and len(self.shares) != len(self.paths) - 1:
            raise UsageError(f"--shares: {len(self.shares)} given for {len(self.paths) - 1} runs; give one a run")
        check_threads("--loaders", self.loaders)
        machine.set_up()
        check_outputs({"--per-class": self.per_class, "--confusion": self.confusion}, self.paths)
        dataset = Dataset(self.paths[-1])
        device = machine.choose_device(self.device)
        runs = [load(path, self.checkpoint, device) for path in self.paths[:-1]]
        more = [run for run in runs if not self.probe and evaluation.class_places(run, dataset) is not None]
        for told in filter(None, (evaluation.prepared_otherwise(run, dataset) for run in runs)):
            warn(f"warning: {told}")
        if self.probe:
            return self._probe(runs, dataset)
        for run in more:
            warn(
                f"note: {run.path} knows {len(run.classes):,} classes; measured among the {len(dataset.classes):,} "
                f"of {dataset.path} alone"
            )
        display = Display(unit="images")
        options = {"views": self.views, "precision": self.precision, "loaders": self.loaders}
        shares = self.shares
        with contextlib.closing(display):
            if self.search_shares:
                shares = evaluation.find_shares(
                    runs, dataset, self.search_shares, progress=display.counter("searching shares"), **options
                )
            found = evaluation.evaluate(
                runs, dataset, split=self.split, shares=shares, keep_probabilities=False,
                progress=display.counter("evaluating"), **options,
            )  # fmt: skip
        self._print(runs, dataset, found)
        sys.stdout.flush()  # whatever becomes of the files, the figures are there
        if self.per_class:
            found.write_class_errors(self.per_class, dataset.classes)
        if self.confusion:
            found.write_confusion(self.confusion, dataset.classes)
        return 0

    def _print(self, runs: Sequence[Any], dataset: Any, found: Any) -> None:
        errors = found.errors
        if self.json:
            more = {"shares": found.shares, "shares_searched_on": self.search_shares}
            per_class = dict(zip(dataset.classes, found.class_errors.tolist()))
            described = {"runs": list(self.paths[:-1]), "dataset": self.paths[-1], "split": self.split}
            print_json({**described, **dataclasses.asdict(errors), **more, "class_errors": per_class})
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
            how = f"searched on {self.search_shares}" if self.search_shares else "as given" if self.shares else "equal"
            say(f"shares ({how}): {', '.join(f'{share:.3f}' for share in found.shares)}")

    def _probe(self, runs: Sequence[Any], dataset: Any) -> int:
        from alexnet.evaluation.probe import probe

        if len(runs) > 1 or self.views != 1 or self.shares or self.search_shares or self.per_class or self.confusion:
            raise UsageError("--probe: takes one run and one view, and no --shares, --per-class or --confusion")
        display = Display(unit="images")
        with contextlib.closing(display):
            found = probe(
                runs[0], dataset, self.probe, split=self.split, loaders=self.loaders,
                progress=display.counter("computing activations"),
            )  # fmt: skip
        if self.json:
            return print_json([dataclasses.asdict(each) for each in found])
        shown = table_of(
            "layer", "numbers", "decay", "top-1 error", "95% interval", "top-5 error", right=(1, 2, 3, 4, 5)
        )
        for each in found:
            errors = each.errors
            add_row(shown, 
                each.layer, f"{each.inputs:,}", f"{each.decay:g}", f"{errors.top1_error:.2%}",
                interval_text(errors.top1_interval), f"{errors.top5_error:.2%}",
            )  # fmt: skip
        print_table(shown)
        say(f"{found[0].errors.images:,} {self.split} images of {dataset.path}, a linear classifier on each layer")
        return 0


@dataclasses.dataclass(frozen=True)
class Predict:
    """Says what is on images: the most probable classes of each."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """A trained run."""

    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE...")]]
    """Files, or folders whose images are all taken."""

    top: int = 5
    """Classes an image."""

    views: Literal[1, 9, 10] = 1
    """1: the center. 10: corners and center, and their mirrors (paper 4.1). 9: a 3x3 grid (2012 source on CIFAR-10)."""

    unsure: float = 0.0
    """Marks images whose first class has a lower probability than this."""

    checkpoint: Literal["last", "best"] = "last"
    """Which weights of the run."""

    csv: str | None = None
    """CSV file to write to instead."""

    precision: Literal["auto", "float32", "bf16", "fp16", "int8"] = "auto"
    """Of products. int8: the fully connected layers' weights are rounded to int8, the rest is as with auto."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:N, mps."""

    loaders: int = 2
    """Threads that decode images."""

    json: bool = False
    """One JSON object an image and line."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.evaluation import predict as prediction
        from alexnet.evaluation.classifier import load

        if not self.images:
            raise UsageError(f"alexnet predict {self.run}: give images or folders")
        check_number("--top", self.top, 1)
        check_threads("--loaders", self.loaders)
        if self.csv and self.json:
            raise UsageError("--csv and --json: give one of them")
        if not 0 <= self.unsure <= 1:
            raise UsageError(f"--unsure {self.unsure}: must be between 0 and 1")
        check_outputs({"--csv": self.csv}, [self.run, *self.images])
        machine.set_up()
        run = load(self.run, self.checkpoint, machine.choose_device(self.device))
        found = prediction.predict(
            run,
            self.images,
            top=self.top,
            views=self.views,
            precision=self.precision,
            loaders=self.loaders,
            note=warn,
        )
        good = bad = 0
        with self._writer(min(self.top, len(run.classes))) as write:
            for prediction in found:
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
        return bool(prediction.top) and prediction.top[0][1] < self.unsure

    def _print(self, prediction: Any) -> None:
        if self.json:
            told = {**dataclasses.asdict(prediction), "unsure": self._is_unsure(prediction)}
            write_json(told, None)
        elif not prediction.problem:
            shown = ", ".join(f"{name} {share:.1%}" for name, share in prediction.top)
            mark = "unsure: " if self._is_unsure(prediction) else ""
            say(f"{prediction.name}: {mark}{shown}")


@dataclasses.dataclass(frozen=True)
class Show:
    """Draws a run's error curve, its first filters (Figure 3), and predictions with their bars (Figure 4)."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """A run."""

    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE...")]] = ()
    """Files or folders to predict; images of the dataset's validation split if not given."""

    output: str | None = None
    """Folder to write the pictures to; the run's own if not given."""

    dataset: str | None = None
    """Where images come from; the dataset that the run was trained on if not given."""

    split: Literal["train", "val", "test"] | None = None
    """Which images of the dataset; val if not given."""

    only_errors: bool = False
    """Images whose first class is wrong, the worst first."""

    count: int = 16
    """Images in the picture."""

    checkpoint: Literal["last", "best"] = "last"
    """Which weights of the run."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:N, mps."""

    json: bool = False
    """Prints the names of the files as JSON."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.figures.show import MOST_PICTURES, show

        check_number("--count", self.count, 1, MOST_PICTURES)
        machine.set_up()
        written: list[str] = []
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
            )
        finally:  # whatever becomes of the others, these are there
            for path in [] if self.json else written:
                say(path)
        return print_json(written) if self.json else 0
