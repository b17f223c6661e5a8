"""A run made ready for use: images in, probabilities, classes and activations out."""

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet import machine
from alexnet.data import preprocessing as augment
from alexnet.data.dataset import Dataset
from alexnet.data.preprocessing import Picture, Preprocessing
from alexnet.data.sources.pictures import Paths
from alexnet.errors import UsageError, check_number
from alexnet.evaluation.pictures import name_of, square_of
from alexnet.nets.inference import for_inference, products_of
from alexnet.nets.network import Network
from alexnet.nets.precision import autocast, check_precision, input_dtype, product_dtype
from alexnet.runs.checkpoint import AnyCheckpoint
from alexnet.runs.run import Run, open_run

if TYPE_CHECKING:
    from alexnet.evaluation.result import Evaluation

BATCH = 128  # views that the net sees at once
VIEWS = (1, 9, 10)


@dataclasses.dataclass(frozen=True, repr=False)
class Prediction:
    """What a net says of one image.

    Attributes:
        name: the image's path; ``image``, or ``image 3`` of a list, where it has none.
        top: classes, as people call them, with their probabilities, most probable first; empty where the image
            is bad.
        problem: why there is none, or None.
        classes: the names of the same classes as the dataset has them (ImageNet's WNIDs).
    """

    name: str
    top: list[tuple[str, float]]
    problem: str | None = None
    classes: list[str] = dataclasses.field(default_factory=list)

    def __repr__(self) -> str:
        shown = self.problem or ", ".join(f"{word} {probability:.1%}" for word, probability in self.top[:3])
        return f"Prediction({self.name}: {shown}{', ...' if len(self.top) > 3 else ''})"


class EvaluateOptions(TypedDict, total=False):
    """Options of ``alexnet.evaluate``."""

    split: str | None
    views: int
    ensemble_weights: Sequence[float] | None
    precision: str | None
    workers: int
    keep_probabilities: bool | None
    progress: Callable[[int, int], None] | None


class PredictOptions(TypedDict, total=False):
    """Options of ``alexnet.predict``."""

    top: int
    views: int
    precision: str | None
    workers: int
    note: Callable[[str], None] | None


class FeaturesOptions(TypedDict, total=False):
    """Options of ``alexnet.features``."""

    views: int
    precision: str | None
    workers: int


class Classifier:
    """A trained net with all that its answers depend on: preprocessing, device and precision.

    ``classifier("photo.jpg")`` says what is on an image. The net's form for inference is made when it is first needed,
    and again where the weights of ``net`` have changed since.

    Args:
        run: an opened run; its net is moved to the device.
        device: where the net runs; where it is now, if not given. As for ``machine.choose_device``.
        precision: of products: ``auto`` by the device, ``float32``, ``bf16``, ``fp16``, ``float64``; or ``int8``, with
            which the fully connected layers' weights are rounded to int8 and all else is as with ``auto``.

    Attributes:
        run: what the run's folder holds.
        device, precision: as given.

    Raises:
        UsageError: no such device or precision.
    """

    def __init__(self, run: Run, device: torch.device | str | None = None, precision: str = "auto"):
        check_precision(precision)
        self.run, self.precision = run, precision
        self.device = _device_of(run.net) if device is None else machine.choose_device(str(device))
        self._products = products_of(precision, self.device)
        run.net.to(self.device)
        self._preprocessing = run.preprocessing.to(self.device)
        self._form: tuple[Network, tuple[int, ...]] | None = None

    @property
    def net(self) -> Network:
        """The trained net as it was saved, on ``device``, in evaluation mode."""
        return self.run.net

    @property
    def preprocessing(self) -> Preprocessing:
        """What the net sees of an image; a transform for data sets. On the CPU, so that loaders' processes work."""
        return self.run.preprocessing

    @property
    def classes(self) -> list[str]:
        """The classes' names, as the data set has them."""
        return self.run.classes

    @property
    def words(self) -> list[str]:
        """What people call the classes."""
        return self.run.words

    @property
    def path(self) -> str:
        """The run's folder."""
        return self.run.path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.run.name

    @property
    def data(self) -> dict[str, Any]:
        """What the run was trained on: the data set's place, its fingerprint, images of each split."""
        return self.run.data

    @property
    def errors(self) -> dict[str, Any]:
        """Errors that were measured at the end of training, by name of split."""
        return self.run.errors

    @property
    def step(self) -> int:
        """The step of the checkpoint that the weights are from."""
        return self.run.step

    def __repr__(self) -> str:
        return f"Classifier({self.run.summary()}; {self.device}, precision {self.precision})"

    def with_precision(self, precision: str) -> "Classifier":
        """The same run on the same device with products of a precision; this one where it has that."""
        return self if precision == self.precision else Classifier(self.run, self.device, precision)

    @overload
    def __call__(self, images: Picture | str | os.PathLike, *, top: int = 5, views: int = 1) -> Prediction: ...

    @overload
    def __call__(
        self, images: Sequence[Picture | str | os.PathLike], *, top: int = 5, views: int = 1
    ) -> list[Prediction]: ...

    def __call__(
        self, images: Picture | str | os.PathLike | Sequence[Picture | str | os.PathLike], *, top: int = 5,
        views: int = 1,
    ) -> Prediction | list[Prediction]:  # fmt: skip
        """The most probable classes of an image, or of each of a list.

        Args:
            images: a file's path, a PIL image, an array of (height, width, 3) or (height, width) uint8, or a tensor of
                (3, height, width) uint8, 0..255; or a list of these. Resized and cropped as in training.
            top: classes per image.
            views: 1, 9 or 10 (paper 4.1).

        Raises:
            UsageError: no such file, or nothing that is an image.
            AlexNetError: a file that cannot be decoded. ``predict`` goes on with the others.
        """
        check_number("--top", top, 1)
        check_views(views)
        alone = not isinstance(images, list | tuple)
        several: list[Any] = [images] if alone else list(images)
        names = [name_of(image, "image" if alone else f"image {index}") for index, image in enumerate(several)]
        squares = [square_of(image, self.preprocessing) for image in several]
        probabilities = self.square_probabilities(squares, views)
        predictions = [self.prediction(name, row, top) for name, row in zip(names, probabilities)]
        return predictions[0] if alone else predictions

    def prediction(self, name: str, probabilities: Tensor, top: int) -> Prediction:
        """Of one image from its (classes,) probabilities: the ``top`` most probable classes."""
        values, indices = probabilities.topk(min(top, len(self.classes)))
        pairs = list(zip(indices.tolist(), values.tolist()))
        return Prediction(name, [(self.words[i], p) for i, p in pairs], None, [self.classes[i] for i, _ in pairs])

    def square_probabilities(self, squares: Sequence[np.ndarray], views: int = 1) -> Tensor:
        """(n, classes) float32 on the CPU, of (size, size, 3) uint8 squares."""
        at_once = images_at_once(views)
        parts = [
            self.probabilities(stacked(squares[i : i + at_once]), views).cpu() for i in range(0, len(squares), at_once)
        ]
        return torch.cat([torch.zeros(0, len(self.classes)), *parts])

    @machine.as_imported(gradients=False)
    @torch.inference_mode()
    def probabilities(self, images: Tensor, views: int = 1) -> Tensor:
        """Soft-max outputs averaged over views (paper 4.1).

        Args:
            images: (N, 3, size, size) uint8, channels-last in memory.
            views: 1, 9 or 10.

        Returns:
            (N, classes) float32 on ``device``.
        """
        seen = augment.views(images.to(self.device), self.preprocessing.crop, views).flatten(0, 1)
        net = self._ready()
        with autocast(self.device, self._products):
            scores = net(self._preprocessing.apply(seen, input_dtype(self._products)))
        return F.softmax(scores.float(), 1).unflatten(0, (views, len(images))).mean(0)

    @machine.as_imported(gradients=False)
    @torch.inference_mode()
    def activations(
        self,
        images: Tensor,
        layers: Sequence[str],
        views: int = 1,
        pool: str | None = None,
        dropout_factor: bool = True,
    ) -> dict[str, Tensor]:
        """Activations of layers, averaged over views. The net runs no further than to the last of them.

        Args:
            images: as for ``probabilities``.
            layers: of the net's table; with ``:before``, before the activation function.
            views: 1, the center; 9 or 10 (paper 4.1).
            pool: ``mean`` or ``max`` over the positions of maps, in each view; None: whole maps.
            dropout_factor: with dropout's factor at test (paper 4.2); False: divided by it.

        Returns:
            (N, ...) float32 on ``device`` for each layer.

        Raises:
            UsageError: no such layer.
        """
        seen = augment.views(images.to(self.device), self.preprocessing.crop, views).flatten(0, 1)
        net = self._ready()
        with autocast(self.device, self._products):
            kept = net.activations(self._preprocessing.apply(seen, input_dtype(self._products)), layers)
        outputs: dict[str, Tensor] = {}
        for name in dict.fromkeys(layers):
            tensor = pooled(kept.pop(name).float(), pool).unflatten(0, (views, len(images)))
            tensor = tensor[0] if views == 1 else tensor.mean(0)
            outputs[name] = tensor if dropout_factor else tensor / self.net.dropout_factor(name)
        return outputs

    def _ready(self) -> Network:
        """The net's form for inference, of the weights as they are now."""
        versions = tuple(map(_version, itertools.chain(self.net.parameters(), self.net.buffers())))
        if self._form is None or self._form[1] != versions:
            self._form = None  # not two at a time
            form = for_inference(self.net, product_dtype(self._products), int8=self.precision == "int8")
            self._form = form, versions
        return self._form[0]

    def evaluate(self, dataset: Dataset | str | os.PathLike, **options: Unpack[EvaluateOptions]) -> "Evaluation":
        """Errors on a data set. Options as for ``alexnet.evaluate``: ``split``, ``views``, ``workers``, ..."""
        from alexnet.evaluation.evaluate import evaluate

        return evaluate(self, dataset, **options)

    def predict(self, paths: Paths, **options: Unpack[PredictOptions]) -> Iterator[Prediction]:
        """The most probable classes of files, folders and archives. Options as for ``alexnet.predict``."""
        from alexnet.evaluation.predict import predict

        return predict(self, paths, **options)

    def features(
        self, paths: Paths | Dataset, layers: str | Sequence[str] = ("fc7",), **options: Unpack[FeaturesOptions]
    ) -> tuple[list[str], dict[str, np.ndarray]]:
        """Activations of layers for files, folders, archives or a dataset. Options as for ``alexnet.features``."""
        from alexnet.evaluation.features import features

        return features(self, paths, layers, **options)


AnyRun = Classifier | Run | str | os.PathLike


def load(
    path: str | os.PathLike,
    checkpoint: AnyCheckpoint = "last",
    device: torch.device | str = "cpu",
    precision: str = "auto",
) -> Classifier:
    """Opens a run, ready for use; one that is being trained is read as it is at this moment, whole.

    Args:
        path: its folder.
        checkpoint: ``last``; ``best``, of the lowest validation error; or a step, as 4, ``4`` or ``step-00000004``.
        device: where the net runs: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: of products, as for ``Classifier``.

    Raises:
        UsageError: no run there, or no such checkpoint, device or precision.
        AlexNetError: no checkpoint yet, or a damaged one.
    """
    check_precision(precision)
    device = machine.choose_device(str(device))
    return Classifier(open_run(path, checkpoint), device, precision)


def opened(run: AnyRun, precision: str | None = None) -> Classifier:
    """A classifier of a run, its folder (on the CPU, the last weights) or itself; of a precision where one is given."""
    if isinstance(run, Classifier):
        return run if precision is None else run.with_precision(precision)
    if not isinstance(run, Run | str | os.PathLike):
        raise UsageError(f"a run: give its folder, or what alexnet.load gives of it, not a {type(run).__name__}")
    return Classifier(run if isinstance(run, Run) else open_run(run), precision=precision or "auto")


def check_views(views: int) -> None:
    """Raises ``UsageError`` for another number of views than there are."""
    if isinstance(views, bool) or views not in VIEWS:
        raise UsageError(f"--views {views}: give 1, 9 or 10")


def images_at_once(views: int) -> int:
    """How many, so that with all their views they make a batch."""
    return max(8, BATCH // views)


def pooled(maps: Tensor, pool: str | None) -> Tensor:
    """(N, maps), the ``mean`` or ``max`` of each map; as they are where ``pool`` is None or there are no maps."""
    if pool is None or maps.dim() == 2:
        return maps
    return maps.mean((2, 3)) if pool == "mean" else maps.amax((2, 3))


def stacked(squares: Sequence[np.ndarray]) -> Tensor:
    """(N, 3, size, size) uint8, channels-last in memory, of (size, size, 3) arrays."""
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)


def _device_of(net: Network) -> torch.device:
    return next(net.parameters()).device


def _version(tensor: Tensor) -> int:
    """How often a tensor was changed in place, as torch counts it; it does not count where none may be trained."""
    return 0 if tensor.is_inference() else tensor._version
