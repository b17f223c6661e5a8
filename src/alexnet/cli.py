"""The commands: each is a dataclass whose fields are its options, and calls one function of the API."""

import ast
import contextlib
import dataclasses
import errno
import functools
import inspect
import io
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.table import Table
from rich.text import Text
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg

from alexnet import files
from alexnet.errors import Failure, Interrupted, Unfinished, WrongUse, check_number, check_threads
from alexnet.progress import Display, Screen, clock
from alexnet.training.recipe import Recipe
from alexnet.training.recipes import named


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Makes a store of 256x256 images from a folder, archive or table of images."""

    source: Positional[Annotated[str, arg(metavar="SOURCE")]]
    """Folder, .tar, .tar.gz, .tar.xz or .zip of train/CLASS/*, val/CLASS/*, test/CLASS/*, or of CLASS/* alone; a
    folder of ImageNet's archives; Kaggle's, the hub's Parquet, WebDataset, CIFAR-10, Tiny ImageNet; a .csv file."""

    store: Positional[Annotated[str, arg(metavar="STORE")]]
    """Folder to make; given again, it goes on where it was stopped."""

    val_fraction: float = 0.2
    """Share of every class set apart for validation where the source has no validation images."""

    seed: int = 0
    """Which images are set apart."""

    size: int | None = None
    """Side of the stored square in pixels; 256, or the shorter side of the source's images where they all have one size
    and it is at most 128."""

    resize: Literal["shorter-side", "warp"] = "shorter-side"
    """shorter-side: scaled, then the central square (paper 2). warp: both sides (as Caffe's figures were measured)."""

    format: Literal["jpeg", "raw"] | None = None
    """jpeg: quality 95, 4:2:0. raw: lossless, about five times larger. jpeg, or raw for CIFAR-10."""

    layout: str | None = None
    """Name of the source's layout; recognised by itself if not given."""

    splits: Literal["auto", "none"] = "auto"
    """auto: folders of a source that are splits (train, val, test) are told by their shape and names. none: every
    folder is a class."""

    max_bad: float = 0.2
    """Share of bad images beyond which it stops with an error; fewer are left out and named in skipped.csv."""

    find_duplicates: bool = False
    """Looks for near-duplicates between training and validation; lists them in duplicates.csv."""

    part: str | None = None
    """3/16: the third of sixteen parts, where processes or machines share the work in one folder. Under torchrun
    the ranks share it."""

    workers: int | None = None
    """Threads; every core if not given. Their number changes no byte."""

    json: bool = False
    """Prints what was made as JSON."""

    def __call__(self) -> int:
        from alexnet.data.prepare import prepare

        check_threads("--workers", self.workers)
        check_number("--seed", self.seed, 0)
        display = Display(unit="images")
        patience = threading.Timer(2.0, display.line, (f"looking through {files.shown(self.source)}",))
        patience.daemon = True
        part = _part(self.part)
        if self.part is None and part[1] > 1:
            display.line(f"RANK and WORLD_SIZE are set: this process does part {part[0]} of {part[1]}")

        def found(listing: Any) -> None:
            patience.cancel()
            display.line(_on_one_line(listing).describe(files.shown(self.source)))

        with contextlib.closing(display), contextlib.ExitStack() as stack:
            patience.start()
            stack.callback(patience.cancel)
            try:
                store = prepare(
                    self.source,
                    self.store,
                    val_fraction=self.val_fraction,
                    seed=self.seed,
                    size=self.size,
                    resize=self.resize,
                    format=self.format,
                    layout=self.layout,
                    splits=self.splits,
                    max_bad=self.max_bad,
                    duplicates=self.find_duplicates,
                    part=part,
                    workers=self.workers,
                    found=found,
                    progress=display.counter("preparing"),
                    say=display.line,
                )
            except Unfinished as unfinished:
                display.line(str(unfinished))
                return 0
        described = store.describe()
        if self.json:
            return _print_json(described)
        for reason in store.skipped()[:5]:
            display.line(files.shown(f"skipped {reason['name']}: {reason['reason']}"))
        counts = ", ".join(f"{count:,} {split}" for split, count in store.splits.items())
        name = files.shown(self.store)
        display.line(f"{name}: {counts} images of {len(store.classes)} classes")
        if described["skipped"]:
            where = f"see {name}/skipped.csv; once mended, they go into a new store, not into this one"
            display.line(f"{described['skipped']:,} bad images left out, {where}")
        if described["duplicates"] is not None:
            where = f", see {name}/duplicates.csv" if described["duplicates"] else ""
            display.line(f"{described['duplicates']:,} near-duplicates between training and validation{where}")
        return 0


def _on_one_line(listing: Any) -> Any:
    """A listing for people: no name of a class breaks a line."""
    copied = dataclasses.replace(listing)
    copied.classes = [files.shown(name) for name in listing.classes]
    copied.words = [files.shown(name) for name in listing.words] if listing.words else None
    return copied


def _part(given: str | None) -> tuple[int, int]:
    """``3/16`` as numbers; torchrun's rank where nothing is given; else all in one."""
    if given is None:
        return _rank(os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", ""))
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", given, re.ASCII)
    if not match:
        raise WrongUse(f"--part {given}: give 1/16 to 16/16, say")
    return int(match[1]), int(match[2])


def _rank(rank: str, world: str) -> tuple[int, int]:
    """What torchrun's two variables say; nothing where one of them is missing or empty: some launcher left it."""
    if not rank.strip() or not world.strip():
        return 1, 1
    try:
        part, parts = int(rank) + 1, int(world)
    except ValueError:
        part, parts = 0, 0
    if not 1 <= part <= parts:
        raise WrongUse(
            f"RANK={rank} WORLD_SIZE={world}: these environment variables must be numbers, RANK from 0 to "
            "WORLD_SIZE - 1, as torchrun sets them; set them so, unset them, or give --part 1/1"
        )
    return part, parts


@dataclasses.dataclass(frozen=True)
class Download:
    """Fetches a public data set or published weights by name, checks their checksum, goes on where it was cut."""

    name: Positional[Annotated[str, arg(metavar="NAME")]]
    """imagenette, imagenette-320, imagenette-160, cifar10, cifar10-binary, tiny-imagenet; torchvision-weights,
    caffe-weights, caffenet-weights, onnx-alexnet-weights, onnx-caffenet-weights."""

    folder: Positional[Annotated[str, arg(metavar="FOLDER")]]
    """Folder to put the file in."""

    url: str | None = None
    """Another place to fetch the same file from; the checksum stays."""

    json: bool = False
    """Prints the file's path as JSON."""

    def __call__(self) -> int:
        from alexnet.data.download import PUBLISHED, download

        display = Display(unit="MB")
        with contextlib.closing(display):
            path = download(self.name, self.folder, url=self.url, progress=display.counter("fetching"))
        if self.json:
            return _print_json({"file": str(path)})
        _say(f"{path}: whole, its checksum is the published one; next: {PUBLISHED[self.name].next.format(path)}")
        return 0


@dataclasses.dataclass(frozen=True)
class Verify:
    """Checks every hash of a store or a run, and decodes every image of a store."""

    path: Positional[Annotated[str, arg(metavar="PATH")]]
    """Store or run."""

    json: bool = False
    """Prints each file and what is wrong with it, or null."""

    def __call__(self) -> int:
        from alexnet.data.store import Store
        from alexnet.runs.run import is_run
        from alexnet.runs.verify import verify

        display = Display(unit="images")
        with contextlib.closing(display):
            progress = display.counter("verifying")
            found = list(verify(self.path) if is_run(self.path) else Store(self.path).verify(progress))
        wrong = [(name, problem) for name, problem in found if problem]
        if self.json:
            _print_json(dict(found))
        for name, problem in wrong:
            _warn(f"{self.path}/{name}: {problem}")
        if not self.json and not wrong:
            _say(f"{self.path}: all {len(found)} files are as they were written")
        return 1 if wrong else 0


@dataclasses.dataclass(frozen=True)
class Info:
    """Says what a store or a run is."""

    path: Positional[Annotated[str, arg(metavar="PATH")]]
    """Store or run."""

    picture: str | None = None
    """PNG file to draw images of the store into, spread over its classes."""

    json: bool = False
    """As JSON."""

    def __call__(self) -> int:
        from alexnet.data.store import Store
        from alexnet.runs.run import describe_run, is_run

        if self.picture and not self.picture.lower().endswith(".png"):
            raise WrongUse(f"--picture {self.picture}: is written as PNG; give a name that ends in .png")
        picture = None
        if is_run(self.path):
            if self.picture:
                raise WrongUse(f"--picture: {self.path} is a run; `alexnet show {self.path}` draws it")
            described = describe_run(self.path)
        else:
            store = Store(self.path)
            _check_outputs({"--picture": self.picture}, [self.path])
            described = store.describe()
            if self.picture:
                from alexnet.figures.sheet import contact_sheet

                picture = contact_sheet(store)
        if self.json:
            _print_json(described)
            return self._save(picture)
        if described["words"] == described["classes"]:
            del described["words"]
        counts = described.pop("counts", {})
        for key, value in described.items():
            _say(f"{key.replace('_', ' ')}: {_plain(value)}")
        if counts:
            _print_table(_class_counts(described.get("words") or described["classes"], counts))
        if self.picture:
            _say(f"picture: {self.picture}")
        return self._save(picture)

    def _save(self, picture: Any) -> int:
        """Writes the picture after what was said."""
        if self.picture:
            from alexnet.figures.style import save_image

            sys.stdout.flush()
            save_image(picture, self.picture)
        return 0


MOST_CLASSES = 24  # that are shown each on a line


def _class_counts(classes: Sequence[str], counts: dict[str, list[int]]) -> Table:
    """Images of each class and split; of many classes, the largest and smallest."""
    order = sorted(range(len(classes)), key=lambda i: (-sum(each[i] for each in counts.values()), i))
    shown = _table("class", *counts, right=range(1, len(counts) + 1))
    if len(order) > MOST_CLASSES:
        half = MOST_CLASSES // 2
        for i in order[:half]:
            _row(shown, classes[i], *(f"{each[i]:,}" for each in counts.values()))
        _row(shown, f"... {len(order) - 2 * half:,} more", *("" for _ in counts))
        order = order[-half:]
    for i in order:
        _row(shown, classes[i], *(f"{each[i]:,}" for each in counts.values()))
    return shown


@dataclasses.dataclass(frozen=True)
class Summary:
    """Prints the layer table of a net: kernels, output shapes, parameters, multiply-adds, memory."""

    net: Positional[Annotated[str, arg(metavar="NET")]] = "paper"
    """Name of a net, or path of a .toml table."""

    classes: int = 1000
    """Units of the last layer."""

    json: bool = False
    """As JSON."""

    def __call__(self) -> int:
        from alexnet.nets.costs import costs
        from alexnet.nets.table_file import load_table

        check_number("--classes", self.classes, 1, 10**9)
        table = load_table(self.net)
        rows = costs(table, self.classes)
        totals = {key: sum(getattr(row, key) for row in rows) for key in ("parameters", "multiply_adds", "memory")}
        if self.json:
            layers = [dataclasses.asdict(row) for row in rows]
            return _print_json({"net": table.name, "input": table.input, "layers": layers, "total": totals})
        shown = _table("layer", "kind", "kernel", "output", "parameters", "multiply-adds", "memory", right=(4, 5, 6))
        for row in rows:
            _row(shown, row.name, row.kind.replace("_", " "), row.kernel, _shape(row.output), *_amounts(row))
        shown.add_section()
        _row(shown, "total", "", "", "", *(_amount(key, value) for key, value in totals.items()))
        _say(f"{table.name}: {table.title}; input {_shape(table.input)}, {table.towers} towers")
        _print_table(shown)
        _say("Multiply-adds and memory (outputs in float32) are for one image, forward.")
        return 0


@dataclasses.dataclass(frozen=True)
class Train:
    """Trains a net on a store, or goes on with a training that was stopped: the same command resumes exactly."""

    store: Positional[Annotated[str, arg(metavar="STORE")]]
    """Images, as `alexnet prepare` left them."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """Folder to write to."""

    settings: Annotated[OmitArgPrefixes[Recipe], arg(name="recipe's")]

    recipe: str = "default"
    """default, paper, source, source-2010, cifar-quick, cifar-18, cifar-13, cifar-11, a recipe.json of another run, or
    a .json or .toml file of some of the options below, each of which changes it."""

    device: str = "auto"
    """auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:N, mps."""

    threads: int | None = None
    """Of torch; OMP_NUM_THREADS, or every core that the process may use, if not given. Bitwise equality holds for one
    number."""

    loaders: int | None = None
    """Threads that decode images; 2 to 8 by the cores if not given."""

    start_from: Annotated[str | None, arg(name="from")] = None
    """A run whose weights are taken, layer by layer, where name and shape agree; the others are drawn."""

    seeds: str | None = None
    """0..9 or 0,3,7: trains one run a seed, in RUN/seed-0, RUN/seed-1, ..."""

    keep_every: int | None = None
    """Keeps a checkpoint for good every so many epochs."""

    keep: Literal["log"] | None = None
    """log: keeps checkpoints at the steps 1, 2, 4, 8, ..., for those who study learning."""

    tensorboard: bool = False
    """Writes for TensorBoard to RUN/tensorboard, too."""

    json: bool = False
    """Prints the outcome as JSON at the end."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.training.trainer import train, train_seeds

        check_threads("--threads", self.threads)
        check_threads("--loaders", self.loaders)
        machine.set_up(self.threads)
        options: dict[str, Any] = {
            "device": self.device,
            "loaders": self.loaders,
            "keep_every": self.keep_every,
            "keep_log": self.keep == "log",
            "start_from": self.start_from,
            "tensorboard": self.tensorboard,
        }
        if self.seeds is None:
            outcomes = [train(self.store, self.run, self.settings, **options)]
        else:
            outcomes = train_seeds(self.store, self.run, self.settings, _seeds(self.seeds), **options)
        if self.json:
            told = [dataclasses.asdict(outcome) for outcome in outcomes]
            return _print_json(told if self.seeds else told[0])
        for outcome in outcomes:
            if outcome.errors:
                error = _share(outcome.errors.top1_error, outcome.errors.top1_interval)
                _say(f"{outcome.run + ': ' if self.seeds else ''}validation error {error}, one view")
            _say(f"{outcome.run}: {outcome.epochs} epochs, {clock(outcome.seconds)}; see {outcome.run}/curve.png")
        return 0


MOST_SEEDS = 10_000  # runs


def _seeds(given: str) -> list[int]:
    """``0..9`` or ``0,3,7`` as numbers."""
    match = re.fullmatch(r"(\d+)\.\.(\d+)", given)
    if match and 0 <= int(match[2]) - int(match[1]) < MOST_SEEDS:
        return list(range(int(match[1]), int(match[2]) + 1))
    if re.fullmatch(r"\d+(,\d+)*", given):
        return [int(number) for number in given.split(",")]
    raise WrongUse(f"--seeds {given}: give 0..9 or 0,3,7, say")


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Measures top-1 and top-5 error of a run, or of several whose outputs are averaged."""

    paths: Positional[Annotated[tuple[str, ...], arg(metavar="RUN... STORE")]]
    """One run or more, then the store whose images they are measured on."""

    split: Literal["train", "val", "test"] = "val"
    """Which images."""

    views: Literal[1, 9, 10] = 1
    """1: the centre. 10: corners and centre, and their mirrors (paper 4.1). 9: a 3x3 grid (2012 source on CIFAR-10)."""

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
    training images, and measured on --split. The store may have classes of its own. (pip install 'alexnet[probe]')"""

    json: bool = False
    """As JSON."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.data.store import Store
        from alexnet.evaluation import evaluate as evaluation
        from alexnet.evaluation.classifier import load

        if len(self.paths) < 2:
            raise WrongUse(f"{' '.join(['alexnet evaluate', *self.paths])}: give one run or more, then the store")
        if self.shares and self.search_shares:
            raise WrongUse("--shares and --search-shares: give one of them")
        if self.shares and len(self.shares) != len(self.paths) - 1:
            raise WrongUse(f"--shares: {len(self.shares)} given for {len(self.paths) - 1} runs; give one a run")
        check_threads("--loaders", self.loaders)
        machine.set_up()
        _check_outputs({"--per-class": self.per_class, "--confusion": self.confusion}, self.paths)
        store = Store(self.paths[-1])
        device = machine.choose_device(self.device)
        runs = [load(path, self.checkpoint, device) for path in self.paths[:-1]]
        more = [run for run in runs if not self.probe and evaluation.class_places(run, store) is not None]
        for told in filter(None, (evaluation.prepared_otherwise(run, store) for run in runs)):
            _warn(f"warning: {told}")
        if self.probe:
            return self._probe(runs, store)
        for run in more:
            _warn(
                f"note: {run.path} knows {len(run.classes):,} classes; measured among the {len(store.classes):,} "
                f"of {store.path} alone"
            )
        display = Display(unit="images")
        options = {"views": self.views, "precision": self.precision, "loaders": self.loaders}
        shares = self.shares
        with contextlib.closing(display):
            if self.search_shares:
                shares = evaluation.find_shares(
                    runs, store, self.search_shares, progress=display.counter("searching shares"), **options
                )
            found = evaluation.evaluate(
                runs, store, split=self.split, shares=shares, keep_probabilities=False,
                progress=display.counter("evaluating"), **options,
            )  # fmt: skip
        self._print(runs, store, found)
        sys.stdout.flush()  # whatever becomes of the files, the figures are there
        if self.per_class:
            found.write_class_errors(self.per_class, store.classes)
        if self.confusion:
            found.write_confusion(self.confusion, store.classes)
        return 0

    def _print(self, runs: Sequence[Any], store: Any, found: Any) -> None:
        errors = found.errors
        if self.json:
            more = {"shares": found.shares, "shares_searched_on": self.search_shares}
            per_class = dict(zip(store.classes, found.class_errors.tolist()))
            described = {"runs": list(self.paths[:-1]), "store": self.paths[-1], "split": self.split}
            _print_json({**described, **dataclasses.asdict(errors), **more, "class_errors": per_class})
            return
        names = " + ".join(run.name for run in runs)
        shown = _table(names, "error", "95% interval", right=(1, 2))
        _row(shown, "top-1", f"{errors.top1_error:.2%}", _interval(errors.top1_interval))
        if len(store.classes) > 5:
            _row(shown, "top-5", f"{errors.top5_error:.2%}", _interval(errors.top5_interval))
        _row(shown, "loss", f"{errors.loss:.4f}", "")
        _print_table(shown)
        views = "one view" if self.views == 1 else f"{self.views} views"
        _say(f"{errors.images:,} {self.split} images of {store.path}, {views}")
        if len(runs) > 1:
            how = f"searched on {self.search_shares}" if self.search_shares else "as given" if self.shares else "equal"
            _say(f"shares ({how}): {', '.join(f'{share:.3f}' for share in found.shares)}")

    def _probe(self, runs: Sequence[Any], store: Any) -> int:
        from alexnet.evaluation.probe import probe

        if len(runs) > 1 or self.views != 1 or self.shares or self.search_shares or self.per_class or self.confusion:
            raise WrongUse("--probe: takes one run and one view, and no --shares, --per-class or --confusion")
        display = Display(unit="images")
        with contextlib.closing(display):
            found = probe(
                runs[0], store, self.probe, split=self.split, loaders=self.loaders,
                progress=display.counter("computing activations"),
            )  # fmt: skip
        if self.json:
            return _print_json([dataclasses.asdict(each) for each in found])
        shown = _table("layer", "numbers", "decay", "top-1 error", "95% interval", "top-5 error", right=(1, 2, 3, 4, 5))
        for each in found:
            errors = each.errors
            _row(shown, 
                each.layer, f"{each.inputs:,}", f"{each.decay:g}", f"{errors.top1_error:.2%}",
                _interval(errors.top1_interval), f"{errors.top5_error:.2%}",
            )  # fmt: skip
        _print_table(shown)
        _say(f"{found[0].errors.images:,} {self.split} images of {store.path}, a linear classifier on each layer")
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
    """1: the centre. 10: corners and centre, and their mirrors (paper 4.1). 9: a 3x3 grid (2012 source on CIFAR-10)."""

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
        from alexnet.evaluation.classifier import load
        from alexnet.evaluation.predict import predict

        if not self.images:
            raise WrongUse(f"alexnet predict {self.run}: give images or folders")
        check_number("--top", self.top, 1)
        check_threads("--loaders", self.loaders)
        if self.csv and self.json:
            raise WrongUse("--csv and --json: give one of them")
        if not 0 <= self.unsure <= 1:
            raise WrongUse(f"--unsure {self.unsure}: must be between 0 and 1")
        _check_outputs({"--csv": self.csv}, [self.run, *self.images])
        machine.set_up()
        run = load(self.run, self.checkpoint, machine.choose_device(self.device))
        found = predict(
            run,
            self.images,
            top=self.top,
            views=self.views,
            precision=self.precision,
            loaders=self.loaders,
            note=_warn,
        )
        good = bad = 0
        with self._writer(min(self.top, len(run.classes))) as write:
            for prediction in found:
                if prediction.problem:
                    bad += 1
                    _warn(f"{prediction.name}: {prediction.problem}")
                else:
                    good += 1
                write(prediction)
        if bad and not good:
            raise Failure("the image could not be read" if bad == 1 else f"not one of {bad:,} images could be read")
        if bad:
            raise Failure(f"{bad:,} of {good + bad:,} images could not be read, see above; the others were predicted")
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
            _write_json(told, None)
        elif not prediction.problem:
            shown = ", ".join(f"{name} {share:.1%}" for name, share in prediction.top)
            mark = "unsure: " if self._is_unsure(prediction) else ""
            _say(f"{prediction.name}: {mark}{shown}")


@dataclasses.dataclass(frozen=True)
class Show:
    """Draws a run's error curve, its first filters (Figure 3), and predictions with their bars (Figure 4)."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """A run."""

    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE...")]] = ()
    """Files or folders to predict; images of the store's validation split if not given."""

    output: str | None = None
    """Folder to write the pictures to; the run's own if not given."""

    store: str | None = None
    """Where images come from; the store that the run was trained on if not given."""

    split: Literal["train", "val", "test"] | None = None
    """Which images of the store; val if not given."""

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
                store=self.store,
                split=self.split,
                only_errors=self.only_errors,
                count=self.count,
                checkpoint=self.checkpoint,
                device=machine.choose_device(self.device),
                note=lambda line: _warn(f"note: {line}"),
                wrote=lambda path: written.append(str(path)),
            )
        finally:  # whatever becomes of the others, these are there
            for path in [] if self.json else written:
                _say(path)
        return _print_json(written) if self.json else 0


@dataclasses.dataclass(frozen=True)
class Import:
    """Makes a run of other people's weights: torchvision's, Caffe's, the ONNX zoo's. Executes nothing in the file."""

    file: Positional[Annotated[str, arg(metavar="FILE")]]
    """.pth, .safetensors, .caffemodel, .onnx, or a folder that `alexnet export` made."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """Folder to make."""

    net: str | None = None
    """Name of a net, or path of a .toml table; found by the file's layers if not given."""

    preparation: Literal["caffe", "torchvision"] | None = None
    """How images are prepared. caffe: 256x256 warped, 0..255 minus mean. torchvision: shorter side 256, 0..1,
    normalised. Not given: as is usual for the net."""

    mean: str | None = None
    """With Caffe's preparation: its mean image (.binaryproto); the mean colours of its own if not given."""

    colours: Literal["rgb", "bgr"] | None = None
    """Order in which the file's weights see them; not given: bgr for Caffe's files and the ONNX zoo's, else rgb."""

    classes: str | None = None
    """Text file with a class a line, `n01440764 tench` or `tench`; ImageNet's thousand if not given."""

    json: bool = False
    """Prints what was made as JSON."""

    def __call__(self) -> int:
        from alexnet.interchange.importing import import_weights

        made = import_weights(
            self.file, self.run, self.net, preparation=self.preparation, mean=self.mean, colours=self.colours,
            classes=self.classes,
        )  # fmt: skip
        if self.json:
            return _print_json(dataclasses.asdict(made))
        size = f"{made.parameters:,} parameters, {made.classes:,} classes"
        _say(f"{made.run}: net {made.net}, {size}, from {made.format}; images: {made.preparation}")
        for note in made.notes:
            _say(f"note: {note}")
        _say(f"next: alexnet predict {made.run} PHOTO, or alexnet train STORE RUN --from {made.run}")
        return 0


@dataclasses.dataclass(frozen=True)
class Export:
    """Writes a run's net for other programs: ONNX, a folder for the Hugging Face hub, torchvision's state dict."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """A run."""

    file: Positional[Annotated[str, arg(metavar="FILE")]]
    """.onnx; .pth or .safetensors for torchvision.models.alexnet; without an ending: a folder for the hub."""

    without_preparation: bool = False
    """ONNX: takes prepared float images and gives scores. Else it takes uint8 images and gives probabilities."""

    precision: Literal["float32", "int8"] = "float32"
    """ONNX. int8: the fully connected layers' weights are rounded to int8; the file is a third as large."""

    images: str | None = None
    """ONNX: store or folder of images that it is checked on; the store that the run was trained on if not given."""

    licence: str | None = None
    """Hub: of the weights, by the hub's names (mit, cc-by-4.0, ...)."""

    checkpoint: Literal["last", "best"] = "last"
    """Which weights of the run."""

    json: bool = False
    """Prints what was made as JSON."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.interchange.exporting import export

        machine.set_up()
        made = export(
            self.run,
            self.file,
            checkpoint=self.checkpoint,
            with_preparation=not self.without_preparation,
            narrow=self.precision == "int8",
            images=self.images,
            licence=self.licence,
        )
        if self.json:
            return _print_json(dataclasses.asdict(made))
        _say(f"{made.file}: {made.bytes / 2**20:,.1f} MiB")
        if made.largest_difference is not None:
            _say(
                f"in ONNX Runtime on {made.images} images ({made.checked_on}): differs from ours by "
                f"{made.largest_difference:.1e} of the largest at most"
            )
        for note in made.notes:
            _say(f"note: {note}")
        return 0


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
            return _print_json(dataclasses.asdict(found))
        shown = _table("AlexNet on drawn images", "error", "95% interval", right=(1, 2))
        _row(shown, "one view", f"{found.one_view.top1_error:.1%}", _interval(found.one_view.top1_interval))
        _row(shown, "ten views", f"{found.ten_views.top1_error:.1%}", _interval(found.ten_views.top1_interval))
        _row(shown, "guessing", f"{found.chance:.1%}", "")
        _print_table(shown)
        _say(
            f"{found.training_images:,} images, {found.epochs} epochs, trained in {clock(found.training_seconds)}, "
            f"measured on {found.one_view.images:,} others"
        )
        _say("Look at:")
        for path in found.pictures:
            _say(f"  {path}")
        return 0


@dataclasses.dataclass(frozen=True)
class Bench:
    """Measures this machine: our speed, the plain port's beside it, and the floors, in about two minutes."""

    net: str = "paper"
    """Name of a net, or path of a .toml table."""

    batch_size: int = 128
    """Images a step."""

    classes: int = 1000
    """Units of the last layer."""

    rounds: int = 7
    """How often each quantity is measured, interleaved; the median is said."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:N, mps."""

    threads: int | None = None
    """Of torch; OMP_NUM_THREADS, or every core that the process may use, if not given."""

    json: bool = False
    """Prints everything measured as JSON."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.diagnostics.bench import bench, spread_words

        for name in ("batch_size", "classes", "rounds"):
            check_number(f"--{name.replace('_', '-')}", getattr(self, name), 1, 10**6)
        check_threads("--threads", self.threads)
        machine.set_up(self.threads)
        found = bench(
            self.net, batch=self.batch_size, classes=self.classes, rounds=self.rounds, device=self.device,
            say=Display(unit="rounds").line,
        )  # fmt: skip
        if self.json:
            return _print_json(dataclasses.asdict(found))
        shown = _table("measured", "median", "", "half the spread", right=(1, 3))
        for each in found.measured.values():
            _row(shown, each.name, f"{each.median:,.1f}", each.unit, spread_words(each))
        _print_table(shown)
        ratios = _table("compared", "ratio", right=(1,))
        for name, ratio in found.ratios.items():
            _row(ratios, name, f"{ratio:.2f}")
        _print_table(ratios)
        _say(f"net {found.net}, batch {found.batch}; " + ", ".join(f"{k} {v}" for k, v in found.machine.items()))
        if found.noisy:
            _say(f"warning: the machine was busy; these spread too far to compare: {', '.join(found.noisy)}")
        return 0


@dataclasses.dataclass(frozen=True)
class Doctor:
    """Says what is installed, which paths run, and what would make them faster."""

    json: bool = False
    """Prints it as JSON."""

    def __call__(self) -> int:
        from alexnet.diagnostics.doctor import doctor

        found = doctor()
        if self.json:
            return _print_json(dataclasses.asdict(found))
        shown = _table("here", "")
        for name, fact in found.facts.items():
            _row(shown, name, fact)
        _print_table(shown)
        for line in found.advice or ["nothing to do: the fastest path of this machine runs"]:
            _say(line)
        return 0


COMMANDS: dict[str, Callable[..., Any]] = {
    "prepare": Prepare,
    "download": Download,
    "verify": Verify,
    "info": Info,
    "summary": Summary,
    "train": Train,
    "evaluate": Evaluate,
    "predict": Predict,
    "show": Show,
    "import": Import,
    "export": Export,
    "bench": Bench,
    "doctor": Doctor,
    "demo": Demo,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns 0 done, 1 failed, 2 wrong use, 130 interrupted after saving."""
    _open_streams()
    logging.getLogger("matplotlib").addHandler(logging.NullHandler())  # its cache and its fonts are no user's concern
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            status = _run(given)
        finally:
            sys.stdout.flush()  # a full disk is noticed here, not when nobody can say so any more
    except WrongUse as error:
        return _fail(error, 2)
    except Failure as error:
        return _fail(error, 1)
    except Interrupted as error:
        return _fail(error, 130)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        return _fail(None, 1)
    except OSError as error:
        return _fail(_operating_system(error), 1)
    except (MemoryError, RecursionError, RuntimeError, UnicodeError) as error:
        words = _exhausted(error)
        if words is None:
            raise
        return _fail(words, 1)
    return status


def _open_streams() -> None:
    """Makes the standard streams ones that can be written to, whatever letters come and whatever the caller closed."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # else a file opened later is taken for a closed stream
        pass
    os.close(number)
    if sys.stdout is None:
        sys.stdout = _Closed()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=files.NAMED_BYTES)


class _Closed(io.TextIOBase):
    """Standard output where the caller has closed it: what is to be said cannot be."""

    def write(self, s: str) -> int:
        raise OSError(errno.EBADF, "standard output is closed")


def _operating_system(error: OSError) -> str:
    """What an operating system's error is, in a line; one without a file's name is of the standard output."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        closed = error.errno in (errno.ENOSPC, errno.EBADF, errno.EIO, errno.EDQUOT, errno.EFBIG)
        return f"standard output: cannot be written ({reason})" if closed else reason
    return f"{os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename}: {reason}"


OUT_OF_MEMORY = re.compile("not enough memory|out of memory|can't allocate memory|failed to allocate", re.IGNORECASE)


def _exhausted(error: Exception) -> str | None:
    """What this machine has too little of, and what to lower; None where it is something else."""
    reason = str(error).strip().splitlines()[:1]
    if isinstance(error, RecursionError):
        return "something that was read is nested too deeply"
    if isinstance(error, UnicodeError):
        return f"a text cannot be read or written ({error})"
    if "can't start new thread" in str(error):
        return "this machine starts no more threads; give fewer --loaders, --workers or --threads"
    if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)):
        detail = f" ({reason[0][:160]})" if reason else ""
        return (
            f"not enough memory{detail}; give less at once: a smaller --batch-size, more --grad-accumulation, a "
            "smaller --count, fewer --views or --loaders, or --device cpu where it is the GPU's"
        )
    return None


def _run(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help"):
        sys.stdout.write(_overview() + "\n")
        return 0 if given else 2
    if given[0] == "--version":
        from importlib.metadata import version

        _say(f"alexnet {version('alexnet')}")
        return 0
    name, rest = given[0], given[1:]
    if name not in COMMANDS:
        raise WrongUse(f"alexnet {name}: no such command; give one of {', '.join(COMMANDS)}")
    return _parse(name, rest)()


def _parse(name: str, rest: list[str]) -> Callable[[], int]:
    """The command with its options; tyro's boxes on wrong ones become a line."""
    options: dict[str, Any] = {"args": rest, "prog": f"alexnet {name}", "config": (FlagCreatePairsOff,)}
    options["description"] = _about(COMMANDS[name])
    if name == "train":
        options["default"] = Train(tyro.MISSING, tyro.MISSING, named(_option(rest, "--recipe") or "default"))
    if "-h" in rest or "--help" in rest:
        return tyro.cli(COMMANDS[name], **options)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(COMMANDS[name], **options)
    except SystemExit:
        raise WrongUse(f"alexnet {name}: {_one_line(said.getvalue())}; see alexnet {name} --help") from None


def _one_line(box: str) -> str:
    """What tyro writes in a box (of Unicode or plain characters) about a wrong option, as a line."""
    lines = []
    for line in box.splitlines()[1:]:
        inner = line.strip("│|\n").removeprefix(" ")
        text = inner.strip(" ─-╭╮╰╯+|")
        if not text and lines:
            break
        if text and not inner.startswith(8 * " "):  # that deep are the help texts of missing arguments
            lines.append(text if inner.strip().endswith(text) else inner.strip())
    return " ".join(lines).rstrip(".")


def _option(arguments: list[str], name: str) -> str | None:
    """The value of an option that must be known before the others are read."""
    for i, argument in enumerate(arguments):
        if argument.startswith(name + "="):
            return argument.partition("=")[2]
        if argument == name and i + 1 < len(arguments):
            return arguments[i + 1]
    return None


def _overview() -> str:
    lines = ["usage: alexnet COMMAND ...", "", "AlexNet (Krizhevsky, Sutskever, Hinton, 2012), whole.", ""]
    for name, command in COMMANDS.items():
        lines.append(f"  {name:<10} {_about(command).splitlines()[0]}")
    return "\n".join([*lines, "", "alexnet COMMAND --help says what a command takes."])


def _about(command: Callable[..., Any]) -> str:
    """What a command says of itself; read from the source where Python was told to leave docstrings out (-OO)."""
    if sys.flags.optimize < 2:
        return inspect.getdoc(command) or ""
    classes = {node.name: node for node in _syntax().body if isinstance(node, ast.ClassDef)}
    return ast.get_docstring(classes[command.__name__]) or ""


@functools.cache
def _syntax() -> ast.Module:
    return ast.parse(inspect.getsource(sys.modules[__name__]))


def _say(line: object) -> None:
    """A line on the standard output: names in it cannot break it, nor reach the terminal."""
    print(files.shown(line))


def _warn(line: object) -> None:
    """A line on the standard error; that nobody can read it is no reason to stop."""
    with contextlib.suppress(OSError):
        print(files.shown(line), file=sys.stderr, flush=True)


def _fail(what: object, status: int) -> int:
    """Says why the command ends, and leaves nothing for the interpreter to fail at when it flushes its streams."""
    if what is not None:
        _warn(f"alexnet: {what}" if status == 130 else f"error: {what}")
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                number = os.open(os.devnull, os.O_WRONLY)
                os.dup2(number, stream.fileno())
                os.close(number)
    return status


def _print_json(value: Any) -> int:
    _write_json(value, 2)
    return 0


def _write_json(value: Any, indent: int | None) -> None:
    """JSON on the standard output, in letters that its encoding has."""
    sys.stdout.write(files.json_shown(files.to_json(value, indent), sys.stdout) + "\n")


def _check_outputs(outputs: Mapping[str, str | None], inputs: Sequence[str]) -> None:
    """Refuses, before the work, a file that could not be written, or that would overwrite another or an input.

    Args:
        outputs: an option's name and the file it names.
        inputs: paths that the command reads.
    """
    written: dict[str, str] = {}
    read = {os.path.realpath(path) for path in inputs if not files.is_remote(path)}
    for option, path in outputs.items():
        if path is None:
            continue
        try:
            files.check_output(path)
        except WrongUse as error:
            raise WrongUse(f"{option} {error}") from error
        real = os.path.realpath(path)
        if real in written:
            raise WrongUse(f"{written[real]} and {option}: both name {path}; give two files")
        written[real] = option
        if real in read or _is_others(Path(real)):
            raise WrongUse(f"{option} {path}: is there already, and is no file that {option} wrote; give another name")


WRITTEN = (".csv", ".png", ".txt", ".tsv", "")  # endings of what options write
OWN = ("skipped.csv", "duplicates.csv")  # a store's


def _is_others(path: Path) -> bool:
    """Whether a file is there that no option of a command has written: an image, a store's or a run's, a table."""
    stores = path.name in OWN and (path.parent / "dataset.json").exists()
    return path.exists() and path.is_file() and (path.suffix.lower() not in WRITTEN or stores)


def _table(*columns: str, right: Sequence[int] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        justify = "right" if i in right else "left"
        table.add_column(Text(files.shown(column)), justify=justify, overflow="fold")
    return table


def _row(table: Table, *cells: str) -> None:
    """Adds a row: names are text, not markup."""
    table.add_row(*(Text(files.shown(cell)) for cell in cells))


def _print_table(table: Table) -> None:
    """A table as wide as the terminal, or as it needs; without blanks at the ends of lines."""
    screen = Screen()
    if screen.is_terminal:
        screen.print(table)
        return
    lines = io.StringIO()
    Screen(width=1 << 16, file=lines).print(table)
    for line in lines.getvalue().split("\n")[:-1]:
        print(line.rstrip())


def _shape(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape)


def _amount(key: str, value: int) -> str:
    return f"{value / 2**20:.2f} MiB" if key == "memory" else f"{value:,}"


def _amounts(row: Any) -> list[str]:
    return [_amount(key, getattr(row, key)) for key in ("parameters", "multiply_adds", "memory")]


def _interval(interval: Sequence[float]) -> str:
    return f"{interval[0]:.1%} to {interval[1]:.1%}"


def _share(value: float, interval: Sequence[float]) -> str:
    return f"{value:.2%} (95% interval {_interval(interval)})"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        shown = ", ".join(_plain(inner) for inner in value[:12])
        return f"{shown}, ... ({len(value)})" if len(value) > 12 else shown
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
