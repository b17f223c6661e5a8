"""Measuring and using a net: top-1 and top-5 error with intervals, one view and ten, several nets; predictions."""

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet import files, machine
from alexnet.data import images as image_files
from alexnet.data.augment import Preparation, views
from alexnet.data.batches import ahead, whole_images
from alexnet.data.sources.pictures import Paths, Pictures, Read, batches, find_pictures
from alexnet.data.store import Store
from alexnet.errors import WrongUse, check_number, check_threads
from alexnet.nets.inference import ready
from alexnet.nets.network import Network
from alexnet.nets.precision import autocast, input_dtype
from alexnet.run import Run, load

BATCH = 128


@dataclasses.dataclass(frozen=True)
class Errors:
    """Errors measured on a split.

    Attributes:
        images: how many.
        views: 1, 9 or 10.
        top1_error, top5_error: shares, 0..1; ties count fractionally, as in the source.
        top1_interval, top5_interval: 95% Wilson score intervals.
        loss: mean of -log of the right class's probability, nats.
    """

    images: int
    views: int
    top1_error: float
    top1_interval: tuple[float, float]
    top5_error: float
    top5_interval: tuple[float, float]
    loss: float


@dataclasses.dataclass
class Evaluation:
    """What ``evaluate`` found: a few numbers an image. What grows with images or classes times classes is asked for.

    Attributes:
        errors: of the whole split.
        shares: weight of each run's soft-max outputs.
        class_errors: (classes,) top-1 error of each class; NaN of one without images.
        rows: (n,) row ids in the order of what follows.
        labels: (n,) right classes.
        predicted: (n,) most probable classes.
        own: (n,) float32, probability of the right class.
        kept: (n, classes) float32 probabilities, or None; see ``probabilities``.
    """

    errors: Errors
    shares: list[float]
    class_errors: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    own: np.ndarray
    kept: np.ndarray | None = None

    @property
    def probabilities(self) -> np.ndarray:
        """(n, classes) float32. Raises ``WrongUse`` where ``evaluate`` was not asked to keep them."""
        if self.kept is None:
            raise WrongUse(
                f"probabilities: those of {len(self.rows):,} images for {len(self.class_errors):,} classes were not "
                "kept; call evaluate with keep_probabilities=True"
            )
        return self.kept

    @property
    def confusion(self) -> np.ndarray:
        """(classes, classes) int64, images of the row's class taken for the column's; made when asked for."""
        classes = len(self.class_errors)
        counts = np.bincount(self.labels * classes + self.predicted, minlength=classes * classes)
        return counts.reshape(classes, classes)

    def write_class_errors(self, path: str | os.PathLike, classes: Sequence[str]) -> None:
        """Writes a CSV: class, images, top-1 error; the last is empty where a class has no images."""
        counts = np.bincount(self.labels, minlength=len(classes)).tolist()
        shares = ["" if math.isnan(error) else f"{error:.6f}" for error in self.class_errors.tolist()]
        files.write_csv(path, [["class", "images", "top1_error"], *zip(classes, counts, shares)])

    def write_confusion(self, path: str | os.PathLike, classes: Sequence[str]) -> None:
        """Writes a CSV: a row for each right class, a column for each predicted one; a row at a time."""
        order = np.argsort(self.labels, kind="stable")
        starts = np.searchsorted(self.labels[order], np.arange(len(classes) + 1))
        with files.atomic(path) as file, files.explained(path):
            file.write(files.to_csv([["right class", *classes]]))
            for index, name in enumerate(classes):
                predicted = self.predicted[order[starts[index] : starts[index + 1]]]
                file.write(files.to_csv([[name, *np.bincount(predicted, minlength=len(classes)).tolist()]]))


def wilson(share: float, count: int) -> tuple[float, float]:
    """95% Wilson score interval of a share seen in ``count`` trials."""
    if count == 0:
        return 0.0, 1.0
    z = 1.959963984540054
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return 0.0 if share == 0 else centre - half, 1.0 if share == 1 else centre + half


def top_k_errors(scores: Tensor, labels: Tensor, k: int) -> Tensor:
    """How wrong each image's first ``k`` classes are: 0 or 1, or a fraction where classes tie.

    If the right class ties with others for the last places, it counts by the chance of being among them.

    Args:
        scores: (N, classes); anything that grows with the probability. A NaN counts as an error.
        labels: (N,) int64.

    Returns:
        (N,) float32.
    """
    own = scores.gather(1, labels[:, None])
    above = (scores > own).sum(1)
    level = (scores == own).sum(1)
    right = ((k - above).float() / level.clamp(min=1).float()).clamp(0, 1)
    return torch.where(torch.isnan(scores).any(1), 1.0, 1 - right)


@machine.as_imported(gradients=False)
@torch.inference_mode()
def probabilities(
    net: Network, preparation: Preparation, images: Tensor, count: int = 1, precision: str = "float32"
) -> Tensor:
    """Soft-max outputs averaged over views (paper 4.1).

    Args:
        net: in evaluation mode.
        preparation: how images are prepared, on the net's device.
        images: (N, 3, size, size) uint8 on the net's device.
        count: views, 1, 9 or 10.
        precision: ``float32``, ``bf16`` or ``fp16``.

    Returns:
        (N, classes) float32.
    """
    seen = views(images, preparation.crop, count).flatten(0, 1)
    with autocast(images.device, precision):
        scores = net(preparation.apply(seen, input_dtype(precision)))
    return F.softmax(scores.float(), 1).unflatten(0, (count, len(images))).mean(0)


def _images_at_once(views: int) -> int:
    """How many, so that with all their views they make a batch."""
    return max(8, BATCH // views)


@dataclasses.dataclass(frozen=True)
class Judged:
    """Images held against their right classes: all that errors are computed from, whatever the number of classes.

    Attributes:
        labels: (n,) right classes.
        wrong1, wrong5: (n,) float32, see ``top_k_errors``.
        own: (n,) float32, probability of the right class.
        predicted: (n,) most probable class.
    """

    labels: Tensor
    wrong1: Tensor
    wrong5: Tensor
    own: Tensor
    predicted: Tensor

    @classmethod
    def of(cls, probability: Tensor, labels: Tensor) -> "Judged":
        """From (n, classes) probabilities and (n,) right classes."""
        wrong1, wrong5 = (top_k_errors(probability, labels, k) for k in (1, 5))
        return cls(labels, wrong1, wrong5, probability.gather(1, labels[:, None])[:, 0], probability.argmax(1))

    @classmethod
    def joined(cls, parts: Sequence["Judged"]) -> "Judged":
        """Of all images of several batches."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def errors(self, views: int) -> Errors:
        """Over all images; ``views`` says of how many the probabilities are."""
        images = len(self.labels)
        top1, top5 = (float(wrong.double().mean()) for wrong in (self.wrong1, self.wrong5))
        loss = float(-self.own.double().clamp(min=1e-45).log().mean())
        return Errors(images, views, top1, wilson(top1, images), top5, wilson(top5, images), loss)


def summary(probability: Tensor, labels: Tensor, count: int) -> Errors:
    """Errors from (n, classes) probabilities and (n,) right classes; ``count`` says of how many views they are."""
    return Judged.of(probability, labels).errors(count)


def measure(
    net: Network,
    preparation: Preparation,
    store: Store,
    split: str,
    *,
    count: int = 1,
    precision: str = "float32",
    device: torch.device | None = None,
    loaders: int = 2,
) -> Errors:
    """One net's errors on a split."""
    device = device or torch.device("cpu")
    net, precision = ready(net, precision, device)
    parts = []
    for batch in whole_images(store, split, _images_at_once(count), loaders, pin=device.type == "cuda"):
        batch = batch.to(device)
        shares = probabilities(net, preparation, batch.images, count, precision).cpu()
        parts.append(Judged.of(shares, batch.labels.cpu()))
    return Judged.joined(parts).errors(count)


def class_places(run: Run, store: Store) -> list[int] | None:
    """Where a store's classes are among those of a run that knows more or in another order; None where both agree.

    Raises:
        WrongUse: the run does not know all of them, neither by their names nor by their words.
    """
    if run.classes == store.classes or run.words == store.words:
        return None
    for own, other in ((run.classes, store.classes), (run.words, store.words)):
        places = {name: place for place, name in enumerate(own)}
        if len(places) == len(own) and set(other) <= set(places):
            return [places[name] for name in other]
    missing = next((name for name in store.classes if name not in run.classes), store.classes[0])
    raise WrongUse(
        f"{run.path}: trained on {len(run.classes)} classes, {store.path} has {len(store.classes)} ({missing!r} is not "
        "among the run's); evaluate it on a store of its own classes"
    )


def check_size(run: Run, store: Store) -> None:
    """Raises ``WrongUse`` where a store's images are smaller than what a run's net sees of one."""
    if store.size < run.preparation.crop:
        raise WrongUse(
            f"{store.path}: its images are {store.size} pixels wide, {run.path} sees {run.preparation.crop}; prepare "
            f"the store again with --size {run.preparation.size}"
        )


def prepared_otherwise(run: Run, store: Store) -> str | None:
    """How a store's images differ from those that a run was trained on, in a line; None if they don't."""
    if store.size < run.preparation.crop:
        return None  # refused: see ``check_size``
    told = run.preparation
    differ = [
        f"{what}: {own} in training, {other} in {store.path}"
        for what, own, other in (("size", told.size, store.size), ("resize", told.resize, store.resize))
        if own != other
    ]
    if not differ:
        return None
    return (
        f"{run.path}: was trained on images prepared otherwise ({'; '.join(differ)}), so its error here is not its "
        f"own; prepare the store again with --size {told.size} --resize {told.resize}"
    )


KEPT_BYTES = 1 << 28  # of probabilities, up to which they are kept unless the caller says otherwise


def evaluate(
    runs: Run | str | os.PathLike | Sequence[Run | str | os.PathLike],
    store: Store | str | os.PathLike,
    *,
    split: str = "val",
    views: int = 1,
    shares: Sequence[float] | None = None,
    precision: str = "auto",
    loaders: int = 2,
    keep_probabilities: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Errors of one run, or of several whose soft-max outputs are averaged, on a split.

    Args:
        runs: one or several, opened on one device, or their folders. One that knows more classes than the store has
            (ImageNet's thousand, say) is measured among the store's: by its probabilities of these, divided by their
            sum.
        store: whose images; opened, or its path.
        split: ``train``, ``val`` or ``test``.
        views: 1 (centre), 10 (paper 4.1) or 9 (2012 source on CIFAR-10).
        shares: weight of each run; equal if not given. They are divided by their sum.
        precision: of products: ``auto`` by the machine, ``float32``, ``bf16``, ``fp16``, ``int8`` (see ``ready``).
        loaders: threads that decode.
        keep_probabilities: of all images and classes; not given, where they take up to 256 MiB (50,000 images of
            1,000 classes do). All else takes a few numbers an image.
        progress: called with images done and images in all.

    Raises:
        WrongUse: classes differ, no such split, or not one share a run.
    """
    runs, store = _opened_runs(runs), store if isinstance(store, Store) else Store(store)
    weights = _shares(shares, len(runs))
    rows, classes = store.rows(split), len(store.classes)
    if keep_probabilities is None:
        keep_probabilities = 4 * len(rows) * classes <= KEPT_BYTES
    parts, kept = [], []
    for labels, outputs in _outputs(runs, store, rows, views, precision, loaders, progress):
        mixed = sum((weight * shares for weight, shares in zip(weights, outputs)), torch.zeros_like(outputs[0]))
        parts.append(Judged.of(mixed, labels))
        if keep_probabilities:
            kept.append(mixed)
    judged = Judged.joined(parts)
    counts = torch.bincount(judged.labels, minlength=classes).double()
    return Evaluation(
        errors=judged.errors(views),
        shares=weights,
        class_errors=(torch.bincount(judged.labels, judged.wrong1.double(), minlength=classes) / counts).numpy(),
        rows=rows,
        labels=judged.labels.numpy(),
        predicted=judged.predicted.numpy(),
        own=judged.own.numpy(),
        kept=torch.cat(kept).numpy() if kept else None,
    )


def opened(run: Run | str | os.PathLike) -> Run:
    """A run, opened where its folder is given: on the CPU, with the last weights."""
    return run if isinstance(run, Run) else load(run)


def _opened_runs(runs: Run | str | os.PathLike | Sequence[Run | str | os.PathLike]) -> list[Run]:
    several = [runs] if isinstance(runs, Run | str | os.PathLike) else list(runs)
    if not several:
        raise WrongUse("runs: give one or more")
    return [opened(run) for run in several]


def _outputs(
    runs: Sequence[Run],
    store: Store,
    rows: np.ndarray,
    views: int,
    precision: str,
    loaders: int,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """For each batch of rows its (N,) labels, and each run's (N, classes) float32 soft-max outputs, on the CPU."""
    check_threads("--loaders", loaders)
    if views not in (1, 9, 10):
        raise WrongUse(f"--views {views}: give 1, 9 or 10")
    places = [class_places(run, store) for run in runs]
    for run in runs:
        check_size(run, store)
    device = next(runs[0].net.parameters()).device
    nets = [ready(run.net, precision, device) for run in runs]
    done = 0
    for batch in whole_images(store, "", _images_at_once(views), loaders, pin=device.type == "cuda", rows=rows):
        labels, batch = batch.labels, batch.to(device)
        outputs = []
        for run, (net, products), chosen in zip(runs, nets, places):
            shares = probabilities(net, run.preparation, batch.images, views, products).cpu()
            outputs.append(shares if chosen is None else F.normalize(shares[:, chosen], p=1, dim=1))
        yield labels, outputs
        done += len(batch.rows)
        if progress:
            progress(done, len(rows))


def store_shares(run: Run, store: Store, rows: np.ndarray, *, precision: str = "auto") -> np.ndarray:
    """(n, classes) float32, the soft-max outputs for some of a store's images, by their row ids."""
    parts = [outputs[0] for _, outputs in _outputs([run], store, rows, 1, precision, 1)]
    return torch.cat(parts).numpy()


def run_probabilities(
    runs: Sequence[Run],
    store: Store,
    *,
    split: str,
    views: int = 1,
    precision: str = "auto",
    loaders: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> list[Tensor]:
    """For each run (n, classes) float32 on the CPU: soft-max outputs for a split's images in the store's order."""
    parts = [outputs for _, outputs in _outputs(runs, store, store.rows(split), views, precision, loaders, progress)]
    return [torch.cat(outputs) for outputs in zip(*parts)]


def _shares(shares: Sequence[float] | None, runs: int) -> list[float]:
    if shares is None:
        return [1 / runs] * runs
    if len(shares) != runs:
        raise WrongUse(f"--shares: {len(shares)} given for {runs} runs; give one a run")
    if not all(0 <= share < math.inf for share in shares) or not 0 < sum(shares) < math.inf:
        raise WrongUse("--shares: give numbers of at least 0 that are not all 0")
    return [share / sum(shares) for share in shares]


def find_shares(
    runs: Sequence[Run],
    store: Store,
    split: str,
    *,
    views: int = 1,
    precision: str = "auto",
    loaders: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> list[float]:
    """The runs' shares that ``search_shares`` finds on a split; other arguments as for ``evaluate``."""
    found = run_probabilities(
        runs, store, split=split, views=views, precision=precision, loaders=loaders, progress=progress
    )
    return search_shares(found, torch.from_numpy(store.labels[store.rows(split)]))


def search_shares(found: Sequence[Tensor], labels: Tensor) -> list[float]:
    """Shares that lower the top-5 error, as the source's ``avg-valid.py`` searches them.

    Coordinate search over 0 to 1 in steps of 0.05 from 0.5, at most five passes; not normalised.

    Args:
        found: for each run (n, classes) soft-max outputs.
        labels: (n,) right classes.
    """
    shares = [0.5] * len(found)

    def error(candidate: list[float]) -> float:
        mixed = sum((s * p for s, p in zip(candidate, found)), torch.zeros_like(found[0]))
        return float(top_k_errors(mixed, labels, min(5, found[0].shape[1] - 1)).double().mean())

    best = error(shares)
    for _ in range(5):
        before = best
        for i in range(len(shares)):
            for value in (j / 20 for j in range(21)):
                candidate = [*shares[:i], value, *shares[i + 1 :]]
                if sum(candidate) > 0 and (found_error := error(candidate)) < best:
                    best, shares = found_error, candidate
        if best == before:
            break
    return shares


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a net says of one image.

    Attributes:
        name: the image's path.
        top: classes, as people call them, with their probabilities, most probable first; empty where the image
            is bad.
        problem: why there is none, or None.
        classes: the names of the same classes as the store has them (ImageNet's WNIDs).
    """

    name: str
    top: list[tuple[str, float]]
    problem: str | None = None
    classes: list[str] = dataclasses.field(default_factory=list)


def several(paths: Paths) -> list[str]:
    """One path or several, as a list."""
    return list(map(os.fsdecode, [paths] if isinstance(paths, str | bytes | os.PathLike) else paths))


def _load(read: Read, preparation: Preparation) -> np.ndarray | str:
    try:
        content = read()
        if isinstance(content, OSError):
            raise content
        return np.asarray(image_files.decode_square(content, preparation.size, preparation.resize))
    except image_files.BadImage as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)


def _loaded(
    pictures: Sequence[Pictures], preparation: Preparation, loaders: int
) -> Iterator[tuple[list[str], list[np.ndarray | str]]]:
    """Names and their images (or what is wrong with them) by the batch, loaded ahead in flat memory."""

    def load(batch: list[tuple[str, Read]]) -> tuple[list[str], list[np.ndarray | str]]:
        return [name for name, _ in batch], [_load(read, preparation) for _, read in batch]

    return ahead(load, batches(pictures, 32), loaders)


def _tensor(good: list[np.ndarray], device: torch.device) -> Tensor:
    return torch.from_numpy(np.stack(good)).to(device).permute(0, 3, 1, 2)


def predict(
    run: Run | str | os.PathLike,
    paths: Paths,
    *,
    top: int = 5,
    views: int = 1,
    precision: str = "auto",
    loaders: int = 2,
    note: Callable[[str], None] | None = None,
) -> Iterator[Prediction]:
    """The most probable classes of image files, or of all images in folders and archives, in flat memory.

    Args:
        run: opened, or its folder.
        paths: a file, folder or archive, or several.
        top: classes an image.
        views: 1, 9 or 10 (paper 4.1).
        precision: of products.
        loaders: threads that decode.
        note: called with a line on what was left out of a folder or archive (hidden files, links that lead nowhere).

    Returns:
        A ``Prediction`` an image in order, each made when it is asked for; a bad image's has its ``problem``.

    Raises:
        WrongUse: at once: no such run, file or folder, or an option that cannot be meant.
    """
    check_threads("--loaders", loaders)
    check_number("--top", top, 1)
    if views not in (1, 9, 10):
        raise WrongUse(f"--views {views}: give 1, 9 or 10")
    return _predictions(opened(run), find_pictures(paths, note), top, views, precision, loaders)


def _predictions(
    run: Run, pictures: Sequence[Pictures], top: int, views: int, precision: str, loaders: int
) -> Iterator[Prediction]:
    device = next(run.net.parameters()).device
    net, precision = ready(run.net, precision, device)
    for names, loaded in _loaded(pictures, run.preparation, loaders):
        good = [image for image in loaded if not isinstance(image, str)]
        shares: Iterator[Tensor] = iter(())
        if good:
            shares = iter(probabilities(net, run.preparation, _tensor(good, device), views, precision).cpu())
        for name, image in zip(names, loaded):
            if isinstance(image, str):
                yield Prediction(name, [], image)
            else:
                values, indices = next(shares).topk(min(top, len(run.classes)))
                pairs = list(zip(indices.tolist(), values.tolist()))
                yield Prediction(name, [(run.words[i], p) for i, p in pairs], None, [run.classes[i] for i, _ in pairs])


def picture_shares(
    run: Run, paths: Paths, most: int, *, precision: str = "auto"
) -> tuple[list[str], list[np.ndarray], np.ndarray]:
    """The first readable images as the run stores them, with their probabilities.

    Returns:
        At most ``most`` names, as many (size, size, 3) uint8 pictures, and (n, classes) float32.

    Raises:
        WrongUse: not one readable image.
    """
    device = next(run.net.parameters()).device
    precision = machine.choose_precision(precision, device)
    found: list[tuple[str, np.ndarray]] = []
    for names, loaded in _loaded(find_pictures(paths), run.preparation, 1):
        found += [(name, image) for name, image in zip(names, loaded) if not isinstance(image, str)]
        if len(found) >= most:
            break
    if not found:
        raise WrongUse("not one of the images could be read")
    found = found[:most]
    pictures = [image for _, image in found]
    shares = [
        probabilities(run.net, run.preparation, _tensor(pictures[i : i + BATCH], device), 1, precision).cpu()
        for i in range(0, len(pictures), BATCH)
    ]
    return [name for name, _ in found], pictures, torch.cat(shares).numpy()


@machine.as_imported(gradients=False)
def centre_activations(run: Run, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Activations of layers for the centre view of (N, 3, size, size) uint8 images, in float32, on the net's device."""
    pixels = views(images, run.preparation.crop, 1)[0]
    return run.net.activations(run.preparation.apply(pixels, torch.float32), layers)


@machine.as_imported(gradients=False)
@torch.inference_mode()
def features(
    run: Run | str | os.PathLike, paths: Paths, layers: str | Sequence[str] = ("fc7",), *, loaders: int = 2
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Activations of layers for image files (paper 6.1: fc7's 4096 numbers are an image's description).

    Args:
        run: opened, or its folder.
        paths: a file, folder or archive, or several.
        layers: names from the net's table, or one.
        loaders: threads that decode.

    Returns:
        The names of the images that could be read, and for each layer (n, ...) float32.

    Raises:
        WrongUse: no such layer, or not one readable image.
    """
    check_threads("--loaders", loaders)
    run, layers = opened(run), [layers] if isinstance(layers, str) else list(layers)
    device = next(run.net.parameters()).device
    kept: list[str] = []
    found: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
    for names, loaded in _loaded(find_pictures(paths), run.preparation, loaders):
        good = [(name, image) for name, image in zip(names, loaded) if not isinstance(image, str)]
        if good:
            activations = centre_activations(run, _tensor([image for _, image in good], device), layers)
            for layer, tensor in activations.items():
                found[layer].append(tensor.cpu().numpy())
            kept += [name for name, _ in good]
    if not kept:
        raise WrongUse("not one of the images could be read")
    return kept, {layer: np.concatenate(parts) for layer, parts in found.items()}
