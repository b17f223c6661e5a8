"""Other people's weights made a run: which net they are of, which classes, and how their images are prepared."""

import contextlib
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet import files, machine
from alexnet.data.preprocessing import Preprocessing
from alexnet.errors import AlexNetError, UsageError
from alexnet.files import mistakes, signatures
from alexnet.interchange import caffe_file, class_names, onnx_reader, torch_file
from alexnet.interchange.exported import AGAIN, own_description
from alexnet.interchange.foreign import MOST_BYTES, Foreign, named
from alexnet.interchange.matching import FIRST, choose
from alexnet.interchange.preprocessing import CAFFE, TORCHVISION, prepared
from alexnet.nets import weights
from alexnet.nets.costs import check_side, costs
from alexnet.nets.network import Network
from alexnet.nets.table import Table
from alexnet.nets.table_file import load_table
from alexnet.runs.checkpoint import write_checkpoint
from alexnet.runs.run import Described, begin, describe, preprocessing_of, read_described, table_of

MOST_MEMORY = 1 << 30  # bytes of a layer's outputs for one image
MOST_WORK = 10**11  # multiply-adds of a layer for one image
HUB = ("config.json", "model.safetensors", "preparation.safetensors")  # what `alexnet export RUN FOLDER` leaves


@dataclasses.dataclass(frozen=True)
class Imported:
    """What ``import_weights`` made.

    Attributes:
        run: the run's folder.
        net: its name.
        format: of the file, for people.
        classes: how many.
        preprocessing: how images are prepared, for people.
        parameters: how many.
        notes: what whoever uses it must know.
    """

    run: str
    net: str
    format: str
    classes: int
    preprocessing: str
    parameters: int
    notes: tuple[str, ...] = ()


@machine.as_imported(gradients=False)
def import_weights(
    file: str | os.PathLike,
    folder: str | os.PathLike,
    net: str | None = None,
    *,
    preprocessing: str | None = None,
    mean: str | os.PathLike | None = None,
    colors: str | None = None,
    classes: str | os.PathLike | None = None,
) -> Imported:
    """Makes a run of published weights; ``evaluate``, ``predict``, ``show``, ``export`` and ``train --from`` take it.

    Nothing in the file is executed, and the run appears whole or not at all.

    Args:
        file: torch's (state dict; either kind of pickle), safetensors, ``.caffemodel``, ``.onnx``, or a folder that
            ``export`` made.
        folder: the run's; must not be there yet.
        net: name or .toml file; found by shapes and layers if not given and there is only one.
        preprocessing: ``caffe`` (256x256 warped, 0..255 minus mean) or ``torchvision`` (shorter side 256, 0..1,
            normalized); the net's usual one if not given.
        mean: Caffe's mean image (``.binaryproto``); not given: its mean colors.
        colors: ``rgb`` or ``bgr``, the order in which the file's weights see them; not given: ``bgr`` for Caffe's
            files and the ONNX zoo's copies of them, ``rgb`` for all others.
        classes: text file with one class per line, ``n01440764 tench`` or ``tench``; not given: ImageNet's thousand.

    Raises:
        UsageError: another net's weights, or what cannot be told from the file and was not said.
        AlexNetError: the file is damaged, or asks to run code.
    """
    mistakes.check_order("import", ("weights", file), ("new run", folder))
    files.check_new_folder(folder, "the run")
    if not os.fspath(file).strip() or not files.exists(file):
        mistakes.refuse(file, "weights")
    if files.is_remote(file) or files.is_remote(folder):
        options = {"preprocessing": preprocessing, "mean": mean, "colors": colors, "classes": classes}
        with files.brought(file) as source, files.sent(folder) as target:
            made = import_weights(source, target, net, **options)
        return dataclasses.replace(made, run=os.fspath(folder))
    mistakes.refuse_other(file, "weights")
    if preprocessing not in (None, CAFFE, TORCHVISION) or colors not in (None, "rgb", "bgr"):
        raise UsageError(
            f"preprocessing is {CAFFE} or {TORCHVISION}, colors are rgb or bgr; not {preprocessing}, {colors}"
        )
    if mean is not None and not Path(mean).is_file():
        raise UsageError(f"--mean {mean}: no such file")
    names = None if classes is None else class_names.read_classes(classes)
    if not Path(file).is_dir():
        return _import_file(file, Path(folder), net, preprocessing, mean, colors, names)
    if (net, preprocessing, mean, colors, classes) != (None,) * 5:
        raise UsageError(
            f"{file}: a folder says itself of which net it is, and how images are prepared; only for files"
        )
    return _import_hub(Path(file), Path(folder))


def _import_file(
    file: str | os.PathLike,
    target: Path,
    net: str | None,
    like: str | None,
    mean: str | os.PathLike | None,
    colors: str | None,
    names: tuple[list[str], list[str] | None] | None,
) -> Imported:
    """A run of the one net's weights that are in a file."""
    where = str(file)
    parts = read(file)
    own = own_description(parts[0], where)
    choice, notes = choose(parts, _tables(net, own, where), net, where)
    side = choice.part.side or (own["preparation"]["crop"] if own else choice.table.input[1])
    preprocessing, usual_colors = prepared(choice.part, own, like, mean, choice.table.name, side, where)
    classes = class_names.classes_of(choice.classes, own, names, where)
    tensors = named(choice.part, weights.outline(choice.table, choice.classes))
    network = _network(choice.table, choice.classes, tensors, where)
    try:
        _try(network, preprocessing.crop)
    except UsageError as error:
        raise UsageError(f"{file}: {error}; export it for images of {choice.table.input[1]} pixels") from error
    colors = colors or usual_colors
    if colors == "bgr":
        first = next(iter(network.tensors().values()))
        first.data.copy_(first.flip(1))
    origin = {
        "file": Path(file).name,
        "sha256": files.sha256(file),
        "format": choice.part.format,
        "colours": "bgr in the file, turned to rgb in the first layer" if colors == "bgr" else "rgb",
    }
    _write(target, network, *classes, preprocessing, {"path": None, "store": None, "images": {}, "imported": origin})
    return _imported(target, network, choice.part.format, preprocessing, notes)


def read(file: str | os.PathLike) -> list[Foreign]:
    """The sets of tensors in a file of any of the formats, by what is in it. Raises as ``import_weights``."""
    path = Path(file)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise UsageError(f"{file}: {size:,} bytes; no AlexNet has as many")
    signatures.refuse(path)
    with open(path, "rb") as opened:
        head = opened.read(64)
    ending = path.suffix.lower()
    if signatures.is_torch(head):
        return torch_file.read_torch(path)
    if signatures.is_safetensors(head) or ending == ".safetensors":
        return torch_file.read_safetensors(path)
    if ending == ".onnx":
        return [onnx_reader.read_onnx(path)]
    if ending == ".caffemodel":
        return [caffe_file.read_caffemodel(path)]
    if ending == ".binaryproto":
        raise UsageError(f"{file}: a mean image, no weights; give it with --mean beside a .caffemodel")
    if ending in (".pth", ".pt", ".ckpt"):
        raise AlexNetError(f"{file}: not readable as a torch file: it is neither a zip nor a pickle; fetch it again")
    raise UsageError(f"{file}: neither torch's, safetensors, .caffemodel nor .onnx")


def _tables(net: str | None, own: dict[str, Any], file: str) -> list[Table]:
    """The nets that a file's weights may be of."""
    if net is not None:
        return [load_table(net)]
    return [table_of(own, file, AGAIN)] if own else [load_table(name) for name in FIRST]


def _network(table: Table, classes: int, tensors: Mapping[str, Tensor], file: str) -> Network:
    """The net with a file's weights, in float32. Raises an ``AlexNetError`` where they cannot be taken."""
    return weights.filled(table, classes, {name: _usable(name, tensor, file) for name, tensor in tensors.items()}, file)


def _usable(name: str, tensor: Tensor, file: str) -> Tensor:
    """A tensor in float32, whatever it was saved as."""
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_meta:
        raise UsageError(f"{file}: {name} has a shape and no numbers (it was saved on the meta device)")
    if tensor.layout != torch.strided:
        raise UsageError(f"{file}: {name} is sparse; save it dense: tensor.to_dense()")
    if tensor.is_quantized or not tensor.is_floating_point() or tensor.element_size() < 2:
        raise UsageError(
            f"{file}: {name} is {kind}; weights here are real floating-point numbers: of a quantized model, "
            "import the one that it was made from"
        )
    tensor = tensor.detach().float()
    if not bool(torch.isfinite(tensor).all()):
        raise AlexNetError(
            f"{file}: {name} holds numbers that are not finite in float32: it is damaged, or its training went wrong"
        )
    return tensor


def _try(net: Network, side: int) -> None:
    """Runs a net once, on an image of its side. Raises ``UsageError`` where that cannot be, or takes too much."""
    try:
        check_side(net.table, side)
        layers = costs(net.table, net.classes, side)
        for most, words, of_layer in (
            (MOST_MEMORY, "bytes of outputs", lambda layer: layer.memory),
            (MOST_WORK, "multiply-adds", lambda layer: layer.multiply_adds),
        ):
            largest = max(layers, key=of_layer)
            if of_layer(largest) > most:
                raise UsageError(
                    f"layer {largest.name}: {of_layer(largest):,} {words} an image; no AlexNet has as many"
                )
        with torch.inference_mode():
            scores = net.eval()(torch.zeros(1, net.table.input[0], side, side))
    except UsageError:
        raise
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"net {net.table.name} cannot be run on images of {side} pixels ({error})") from error
    if not bool(torch.isfinite(scores).all()):
        raise UsageError(f"net {net.table.name} gives scores that are not finite")


def _import_hub(source: Path, target: Path) -> Imported:
    """A folder that ``alexnet export RUN FOLDER`` made: the same run again, to the last bit."""
    signatures.refuse_folder(source)
    for name in HUB:
        if not (source / name).is_file():
            raise UsageError(f"{source}: has no {name}; give a folder that `alexnet export` made, or a file of weights")
    where = str(source / "config.json")
    config = read_described(source / "config.json", Described, AGAIN)
    table = table_of(config, where, AGAIN)
    tensors = {name: weights.load_tensors(source / name) for name in HUB[1:]}
    preprocessing = preprocessing_of(config["preparation"], tensors[HUB[2]], where)
    state, last = tensors[HUB[1]], f"{list(table.layers)[-1]}.weight"
    count = len(state[last]) if last in state else len(config["classes"])
    names, words = class_names.classes_of(count, config, None, where)
    network = _network(table, len(names), state, str(source / "model.safetensors"))
    try:
        _try(network, preprocessing.crop)
    except UsageError as error:
        raise AlexNetError(f"{where}: {error}; {AGAIN}") from error
    _write(target, network, names, words, preprocessing, {**config["data"], "path": None}, config["errors"])
    return _imported(target, network, "safetensors with config.json", preprocessing)


def _write(
    target: Path,
    network: Network,
    names: Sequence[str],
    words: Sequence[str] | None,
    preprocessing: Preprocessing,
    data: dict,
    errors: dict | None = None,
) -> None:
    """A run with one checkpoint of step 0, whole or not at all."""
    described = describe(network, list(names), list(words) if words else None, preprocessing, data)
    with contextlib.suppress(OSError):
        target.rmdir()  # empty, or another import's
    with files.atomic_folder(target) as partial:
        checkpoint = files.make_folder(partial / "checkpoints" / "last-00000000")
        write_checkpoint(checkpoint, 0, {"weights.safetensors": network.state()}, {})
        begin(partial, {**described, "errors": errors or {}}, preprocessing)


def _imported(
    target: Path, network: Network, form: str, preprocessing: Preprocessing, notes: Sequence[str] = ()
) -> Imported:
    count = sum(tensor.numel() for tensor in network.tensors().values())
    words = f"{preprocessing.resize}, {preprocessing.size} pixels, crop {preprocessing.crop}"
    return Imported(str(target), network.table.name, form, network.classes, words, count, tuple(notes))
