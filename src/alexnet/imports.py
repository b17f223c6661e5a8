"""Other people's weights made a run: which net they are of, which classes, and how their images are prepared."""

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from alexnet import files, run
from alexnet.data import imagenet, images
from alexnet.data.augment import Preparation
from alexnet.errors import Failure, WrongUse
from alexnet.nets import weights
from alexnet.nets.formats import caffe_file, onnx_file, torch_file
from alexnet.nets.formats.foreign import MOST_BYTES, Foreign, difference, named
from alexnet.nets.network import Network, Table, load_table, parse_table, tables

SIZE = 256  # of the square that crops are taken from, in Caffe's and torchvision's figures
CAFFE_BGR = (104.00698793, 116.66876762, 122.67891434)  # means of Caffe's ilsvrc_2012_mean, 0..255
TORCHVISION_MEAN, TORCHVISION_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB on 0..1
HUB = ("config.json", "model.safetensors", "preparation.safetensors")  # what `alexnet export RUN FOLDER` leaves
CAFFE, TORCHVISION = "caffe", "torchvision"
USUAL = {"caffe": CAFFE, "caffenet": CAFFE, "torchvision": TORCHVISION}  # a net's, where nothing else is said
FIRST = [*USUAL, *sorted(set(tables()) - set(USUAL))]  # the order in which nets are tried


@dataclasses.dataclass(frozen=True)
class Imported:
    """What ``import_weights`` made.

    Attributes:
        run: the run's folder.
        net: its name.
        format: of the file, for people.
        classes: how many.
        preparation: how images are prepared, for people.
        parameters: how many.
    """

    run: str
    net: str
    format: str
    classes: int
    preparation: str
    parameters: int


def import_weights(
    file: str | os.PathLike,
    folder: str | os.PathLike,
    net: str | None = None,
    *,
    preparation: str | None = None,
    mean: str | os.PathLike | None = None,
    colours: str | None = None,
    classes: str | os.PathLike | None = None,
) -> Imported:
    """Makes a run of published weights; ``evaluate``, ``predict``, ``show``, ``export`` and ``train --from`` take it.

    Nothing in the file is executed, and the run appears whole or not at all.

    Args:
        file: torch's (state dict; either kind of pickle), safetensors, ``.caffemodel``, ``.onnx``, or a folder that
            ``export`` made.
        folder: the run's; must not be there yet.
        net: name or .toml file; found by shapes and layers if not given and there is only one.
        preparation: ``caffe`` (256x256 warped, 0..255 minus mean) or ``torchvision`` (shorter side 256, 0..1,
            normalised); the net's usual one if not given.
        mean: Caffe's mean image (``.binaryproto``); not given: its mean colours.
        colours: ``rgb`` or ``bgr``, the order in which the file's weights see them; not given: ``bgr`` for Caffe's
            files and the ONNX zoo's copies of them, ``rgb`` for all others.
        classes: text file with a class a line, ``n01440764 tench`` or ``tench``; not given: ImageNet's thousand.

    Raises:
        WrongUse: another net's weights, or what cannot be told from the file and was not said.
        Failure: the file is damaged, or asks to run code.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise WrongUse(f"{folder}: is there already; give another folder for the run")
    if not Path(file).exists():
        raise WrongUse(f"{file}: no such file; `alexnet download` fetches published weights")
    if preparation not in (None, CAFFE, TORCHVISION) or colours not in (None, "rgb", "bgr"):
        raise WrongUse(f"preparation is {CAFFE} or {TORCHVISION}, colours are rgb or bgr; not {preparation}, {colours}")
    if Path(file).is_dir():
        return _import_hub(Path(file), target)
    found = read(file)
    own = _own(found, str(file))
    network, side = _net_of(found, net, own, str(file))
    tensors = {name: tensor.float() for name, tensor in named(found, network).items()}
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise Failure(f"{file}: {name} holds numbers that are not finite; fetch it again")
    made, usual_colours = _prepared(found, own, preparation, mean, network, side, str(file))
    colours = colours or usual_colours
    if colours == "bgr":
        first = f"{network.names[0]}.weight"
        tensors[first] = tensors[first].flip(1)
    weights.put(network, tensors, str(file))
    names, words = _classes(network.classes, own, classes, str(file))
    origin = {
        "file": Path(file).name,
        "sha256": files.sha256(file),
        "format": found.format,
        "colours": "bgr in the file, turned to rgb in the first layer" if colours == "bgr" else "rgb",
    }
    _write(target, network, names, words, made, {"path": None, "store": None, "images": {}, "imported": origin})
    return _imported(target, network, found.format, made)


def read(file: str | os.PathLike) -> Foreign:
    """A file of any of the formats, by what is in it. Raises as ``import_weights``."""
    path = Path(file)
    size = path.stat().st_size
    if size == 0:
        raise Failure(f"{file}: empty; fetch it again")
    if size > MOST_BYTES:
        raise WrongUse(f"{file}: {size:,} bytes; no AlexNet has as many")
    with open(path, "rb") as opened:
        head = opened.read(16)
    ending = path.suffix.lower()
    if torch_file.is_torch(head):
        return torch_file.read_torch(path)
    if torch_file.is_safetensors(head) or ending == ".safetensors":
        return torch_file.read_safetensors(path)
    if ending == ".onnx":
        return onnx_file.read_onnx(path)
    if ending == ".caffemodel":
        return caffe_file.read_caffemodel(path)
    if ending == ".binaryproto":
        raise WrongUse(f"{file}: a mean image, no weights; give it with --mean beside a .caffemodel")
    if ending in (".pth", ".pt"):
        raise Failure(f"{file}: not readable as a torch file: it is neither a zip nor a pickle; fetch it again")
    raise WrongUse(f"{file}: neither torch's, safetensors, .caffemodel nor .onnx")


def _own(found: Foreign, file: str) -> dict[str, Any]:
    """What our own exporter wrote beside the weights; empty where another one did. Raises ``Failure`` if damaged."""
    told = dict(found.metadata)
    if not told:
        return {}
    kinds = {"net": dict, "classes": list, "preparation": dict, "noise": list}
    wrong = [key for key, kind in kinds.items() if not isinstance(told.get(key), kind)]
    if wrong:
        raise Failure(f"{file}: its metadata are damaged ({wrong[0]}); export it again")
    return told


def _prepared(
    found: Foreign,
    own: dict[str, Any],
    like: str | None,
    mean: str | os.PathLike | None,
    net: Network,
    side: int,
    file: str,
) -> tuple[Preparation, str]:
    """How images are prepared, and in which order a file of this format usually has the colours."""
    if own and like is None:
        if "mean_image" not in own:
            raise WrongUse(
                f"{file}: was exported without its preparation, so the mean image is not in it; "
                "export the run once more with it, or as a folder"
            )
        tensors = {"mean_image": own["mean_image"], "noise": torch.tensor(own["noise"]).view(3, 3)}
        return run.preparation_of(own["preparation"], tensors, file), "rgb"
    like = like or USUAL.get(net.table.name)
    if like is None:
        raise WrongUse(
            f"{file}: does not say how images are prepared for net {net.table.name}; "
            f"give --preparation {CAFFE} or {TORCHVISION}"
        )
    caffes = like == CAFFE and not own and found.operations is not None  # torch's files have none
    return usual_preparation(like, side, mean), "bgr" if caffes else "rgb"


def _net_of(found: Foreign, net: str | None, own: dict[str, Any], file: str) -> tuple[Network, int]:
    """The net that a file's weights are of, and the side of the images that it sees."""
    if net is not None:
        table = load_table(net)
        side = found.side or table.input[1]
        network = Network.empty(table, _units(found, table))
        wrong = difference(found, network, side)
        if wrong:
            fits = [each for each in FIRST if each != net and _fits(found, load_table(each))]
            hint = f"give --net {fits[0]}" if fits else "it is none of the nets that come with alexnet"
            raise WrongUse(f"{file}: these are not weights of {table.name}: {wrong}; {hint}")
        return network, side
    if own:
        table = parse_table(own["net"]["table"], own["net"]["name"])
        return Network.empty(table, _units(found, table)), found.side or int(own["preparation"]["crop"])
    fits = [each for each in FIRST if _fits(found, load_table(each))]
    if len(fits) == 1:
        table = load_table(fits[0])
        return Network.empty(table, _units(found, table)), found.side or table.input[1]
    if fits:
        raise WrongUse(f"{file}: could be {', '.join(fits)}, whose tensors have the same shapes; give --net")
    raise WrongUse(f"{file}: holds no weights of a net that comes with alexnet; give --net with its .toml table")


def _units(found: Foreign, table: Table) -> int:
    """The number of classes: the rows of the last layer's weights, by name or, where names are places, by place."""
    last = list(table.layers)[-1]
    for name in (f"{last}.weight", *list(found.tensors)[-2:]):
        if name in found.tensors and found.tensors[name].dim() >= 1:
            return max(1, len(found.tensors[name]))
    return 1000


def _fits(found: Foreign, table: Table) -> bool:
    with torch.device("meta"):
        network = Network(table, _units(found, table))
    return difference(found, network, found.side or table.input[1]) is None


def usual_preparation(like: str, side: int, mean: str | os.PathLike | None = None) -> Preparation:
    """How Caffe's or torchvision's published figures were measured, as ours: RGB, 0..255, minus mean, times scale.

    Args:
        like: ``caffe`` or ``torchvision``.
        side: of the centre crop, pixels.
        mean: with ``caffe``, a ``.binaryproto``.
    """
    if like == TORCHVISION:
        if mean is not None:
            raise WrongUse("--mean: goes with --preparation caffe; torchvision's mean is a colour")
        colours = torch.tensor([255 * each for each in TORCHVISION_MEAN])
        image = colours.view(3, 1, 1).expand(3, SIZE, SIZE).contiguous()
        red, green, blue = (1 / (255 * each) for each in TORCHVISION_DEVIATION)
        return _preparation(image, side, (red, green, blue), images.SHORTER_SIDE)
    if mean is None:
        image = torch.tensor(CAFFE_BGR).flip(0).view(3, 1, 1).expand(3, SIZE, SIZE).contiguous()
    else:
        image = caffe_file.read_mean(mean).flip(0).contiguous()
        if image.shape[1:] == (1, 1):
            image = image.expand(3, SIZE, SIZE).contiguous()
        if image.shape[1] != image.shape[2] or image.shape[1] < side:
            raise WrongUse(f"{mean}: a mean of {image.shape[1]}x{image.shape[2]} pixels; it must be a square of {side}")
    return _preparation(image, side, 1.0, images.WARP)


def _preparation(
    mean: Tensor, side: int, scale: float | tuple[float, float, float], resize: Literal["shorter-side", "warp"]
) -> Preparation:
    return Preparation(
        size=mean.shape[-1],
        crop=side,
        scale=scale,
        mean_image=mean,
        noise=torch.zeros(3, 3),
        resized=images.RESIZED[resize],
        resize=resize,
    )


def _classes(
    count: int, own: dict[str, Any], file: str | os.PathLike | None, where: str
) -> tuple[list[str], list[str] | None]:
    """Names of the classes, and their words."""
    if file is not None:
        names, words = read_classes(file)
        if len(names) != count:
            raise WrongUse(f"--classes {file}: {len(names)} classes, {where} has {count}")
        return names, words
    if own:
        return own["classes"], own.get("words")
    known = imagenet.classes()
    if count == len(known):
        return list(known), list(known.values())
    raise WrongUse(f"{where}: {count} classes, whose names are not in it; give --classes FILE, one a line")


def read_classes(file: str | os.PathLike) -> tuple[list[str], list[str] | None]:
    """A class a line; where every line begins with a WNID, words follow it. Raises ``WrongUse`` where there is none."""
    if not files.exists(file):
        raise WrongUse(f"--classes {file}: no such file")
    try:
        lines = [line.strip() for line in files.read_bytes(file).decode("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise WrongUse(f"--classes {file}: is no text in UTF-8") from error
    parts = [re.fullmatch(r"(n\d{8})[\s,]+(.+)", line) for line in lines]
    if all(parts) and parts:
        names, words = [each[1] for each in parts if each], [each[2] for each in parts if each]
    else:
        names, words = lines, None
    if len(set(names)) != len(names) or not names:
        raise WrongUse(f"--classes {file}: {'a class comes twice' if names else 'is empty'}")
    return names, words


def _import_hub(source: Path, target: Path) -> Imported:
    """A folder that ``alexnet export RUN FOLDER`` made: the same run again, to the last bit."""
    for name in HUB:
        if not (source / name).exists():
            raise WrongUse(f"{source}: has no {name}; give a folder that `alexnet export` made, or a file of weights")
    config = files.read_json(source / "config.json")
    try:
        network = Network.empty(parse_table(config["net"]["table"], config["net"]["name"]), len(config["classes"]))
        told, names, words = config["preparation"], config["classes"], config.get("words")
        data, errors = config["data"], config["errors"]
    except (KeyError, TypeError) as error:
        raise Failure(
            f"{source / 'config.json'}: is not as `alexnet export` writes it ({error}); export it again"
        ) from error
    tensors = torch_file.read_safetensors(source / "preparation.safetensors").tensors
    made = run.preparation_of(told, tensors, str(source))
    weights.put(network, weights.load_tensors(source / "model.safetensors"), str(source / "model.safetensors"))
    _write(target, network, names, words, made, data, errors)
    return _imported(target, network, "safetensors with config.json", made)


def _write(
    target: Path,
    network: Network,
    names: Sequence[str],
    words: Sequence[str] | None,
    preparation: Preparation,
    data: dict,
    errors: dict | None = None,
) -> None:
    """A run with one checkpoint of step 0, whole or not at all."""
    if target.exists():
        target.rmdir()  # empty
    described = run.describe(network, list(names), list(words) if words else None, preparation, data)
    with files.atomic_folder(target) as partial:
        place = files.make_folder(partial / "checkpoints" / "last-00000000")
        run.write_checkpoint(place, 0, {"weights.safetensors": network.state()}, {})
        run.begin(partial, {**described, "errors": errors or {}}, preparation)


def _imported(target: Path, network: Network, form: str, preparation: Preparation) -> Imported:
    count = sum(tensor.numel() for tensor in network.tensors().values())
    words = f"{preparation.resize}, {preparation.size} pixels, crop {preparation.crop}"
    return Imported(str(target), network.table.name, form, network.classes, words, count)
