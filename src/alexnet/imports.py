"""Other people's weights made a run: which net they are of, which classes, and how their images are prepared."""

import codecs
import contextlib
import dataclasses
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from alexnet import files, machine
from alexnet.data import imagenet, images
from alexnet.data.augment import Preparation
from alexnet.errors import Failure, WrongUse
from alexnet.files import Length
from alexnet.nets import signatures, weights
from alexnet.nets.formats import caffe_file, onnx_file, torch_file
from alexnet.nets.formats.foreign import MOST_BYTES, Foreign, difference, matched_words, named, shape_words
from alexnet.nets.network import Network, Table, check_side, costs, load_table, tables
from alexnet.runs import run as runs
from alexnet.runs.checkpoint import write_checkpoint

MOST_MEMORY = 1 << 30  # bytes of a layer's outputs for one image
MOST_WORK = 10**11  # multiply-adds of a layer for one image
MOST_CLASSES_BYTES = 1 << 26  # of a list of classes
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
        notes: what whoever uses it must know.
    """

    run: str
    net: str
    format: str
    classes: int
    preparation: str
    parameters: int
    notes: tuple[str, ...] = ()


@machine.as_imported(gradients=False)
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
    runs.check_new_folder(folder, "the run")
    if not Path(file).exists():
        raise WrongUse(f"{file}: no such file; `alexnet download` fetches published weights")
    if preparation not in (None, CAFFE, TORCHVISION) or colours not in (None, "rgb", "bgr"):
        raise WrongUse(f"preparation is {CAFFE} or {TORCHVISION}, colours are rgb or bgr; not {preparation}, {colours}")
    if mean is not None and not Path(mean).is_file():
        raise WrongUse(f"--mean {mean}: no such file")
    names = None if classes is None else read_classes(classes)
    if Path(file).is_dir():
        if (net, preparation, mean, colours, classes) != (None,) * 5:
            raise WrongUse(
                f"{file}: a folder says itself of which net it is, and how images are prepared; only for files"
            )
        return _import_hub(Path(file), target)
    parts = read(file)
    own = _own(parts[0], str(file))
    chosen, notes = _choose(parts, _tables(net, own, str(file)), net, str(file))
    shapes = weights.outline(chosen.table, chosen.classes)
    side = chosen.part.side or (own["preparation"]["crop"] if own else chosen.table.input[1])
    made, usual_colours = _prepared(chosen.part, own, preparation, mean, shapes, side, str(file))
    known = _classes(chosen.classes, own, names, str(file))
    network = _network(chosen.table, chosen.classes, named(chosen.part, shapes), str(file))
    try:
        _try(network, made.crop)
    except WrongUse as error:
        raise WrongUse(f"{file}: {error}; export it for images of {chosen.table.input[1]} pixels") from error
    colours = colours or usual_colours
    if colours == "bgr":
        first = next(iter(network.tensors().values()))
        first.data.copy_(first.flip(1))
    origin = {
        "file": Path(file).name,
        "sha256": files.sha256(file),
        "format": chosen.part.format,
        "colours": "bgr in the file, turned to rgb in the first layer" if colours == "bgr" else "rgb",
    }
    data = {"path": None, "store": None, "images": {}, "imported": origin}
    _write(target, network, *known, made, data)
    return _imported(target, network, chosen.part.format, made, notes)


def read(file: str | os.PathLike) -> list[Foreign]:
    """The sets of tensors in a file of any of the formats, by what is in it. Raises as ``import_weights``."""
    path = Path(file)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise WrongUse(f"{file}: {size:,} bytes; no AlexNet has as many")
    signatures.refuse(path)
    with open(path, "rb") as opened:
        head = opened.read(64)
    ending = path.suffix.lower()
    if signatures.is_torch(head):
        return torch_file.read_torch(path)
    if signatures.is_safetensors(head) or ending == ".safetensors":
        return torch_file.read_safetensors(path)
    if ending == ".onnx":
        return [onnx_file.read_onnx(path)]
    if ending == ".caffemodel":
        return [caffe_file.read_caffemodel(path)]
    if ending == ".binaryproto":
        raise WrongUse(f"{file}: a mean image, no weights; give it with --mean beside a .caffemodel")
    if ending in (".pth", ".pt", ".ckpt"):
        raise Failure(f"{file}: not readable as a torch file: it is neither a zip nor a pickle; fetch it again")
    raise WrongUse(f"{file}: neither torch's, safetensors, .caffemodel nor .onnx")


class InOnnx(runs.Described):
    """What our own exporter writes into an ONNX file."""

    noise: Annotated[list[float], Length(9, 9)]


def _own(found: Foreign, file: str) -> dict[str, Any]:
    """What our own exporter wrote beside the weights; empty where another one did.

    Raises:
        Failure: it is not as that writes it.
        WrongUse: it is of a newer version's.
    """
    if onnx_file.KEY not in found.metadata:
        return {}
    where = f"{file}: metadata {onnx_file.KEY!r}"
    try:
        content = files.checked(files.parse_json(found.metadata[onnx_file.KEY]), dict)
    except ValueError as error:
        raise Failure(f"{where}: not readable as JSON ({error}); {AGAIN}") from error
    own = runs.described(content, InOnnx, where, AGAIN)
    crop = own["preparation"].get("crop")
    if found.side is not None and crop != found.side:
        raise Failure(f"{where}: preparation.crop: {crop}, but its graph sees {found.side} pixels; {AGAIN}")
    return {**own, "mean_image": found.metadata.get("mean_image")}


AGAIN = "it was changed since `alexnet export` wrote it: export it again"


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
        if mean is not None:
            raise WrongUse(f"--mean: {file} has its own mean image; with --preparation {CAFFE} another is taken")
        if own["mean_image"] is None:
            raise WrongUse(
                f"{file}: was exported without its preparation, so the mean image is not in it; "
                "export the run once more with it, or as a folder"
            )
        tensors = {"mean_image": own["mean_image"], "noise": torch.tensor(own["noise"]).view(3, 3)}
        return runs.preparation_of(own["preparation"], tensors, file), "rgb"
    like = like or USUAL.get(net.table.name)
    if like is None:
        raise WrongUse(
            f"{file}: does not say how images are prepared for net {net.table.name}; "
            f"give --preparation {CAFFE} or {TORCHVISION}"
        )
    caffes = like == CAFFE and not own and found.operations is not None  # torch's files have none
    return usual_preparation(like, side, mean), "bgr" if caffes else "rgb"


@dataclasses.dataclass(frozen=True)
class _Choice:
    """Which of a file's sets of tensors are weights of which net."""

    part: Foreign
    table: Table
    classes: int

    @property
    def averaged(self) -> bool:
        """Whether they are averages of weights (EMA, SWA), by their place in the file."""
        return torch_file.AVERAGED.search(self.part.path) is not None


def _tables(net: str | None, own: dict[str, Any], file: str) -> list[Table]:
    """The nets that a file's weights may be of."""
    if net is not None:
        return [load_table(net)]
    return [runs.table_of(own, file, AGAIN)] if own else [load_table(name) for name in FIRST]


def _choose(parts: Sequence[Foreign], choices: Sequence[Table], asked: str | None, file: str) -> tuple[_Choice, list]:
    """The one set of tensors, and the one net that it is of; and what whoever uses it must know."""
    fits = [fit for part in parts for fit in _fits(part, choices)]
    if not fits:
        raise WrongUse(_no_fit(parts, choices, asked, file))
    plain = [fit for fit in fits if not fit.averaged] or fits
    chosen = plain[0]
    others = [fit for fit in plain if fit.part is not chosen.part and not _same(fit.part, chosen.part)]
    if others:
        names = ", ".join(dict.fromkeys(_path_words(fit) for fit in (chosen, *others)))
        raise WrongUse(
            f"{file}: holds the weights of several nets: {names}; save one of them alone: "
            f"torch.save(torch.load(FILE)[KEY], OTHER)"
        )
    nets = [fit.table.name for fit in plain if fit.part is chosen.part]
    if len(nets) > 1:
        raise WrongUse(f"{file}: could be {', '.join(nets)}, whose tensors have the same shapes; give --net")
    left = list(dict.fromkeys(_path_words(fit) for fit in fits if fit.averaged != chosen.averaged))
    notes = [f"the weights are those of {_path_words(chosen)}, not of {', '.join(left)}"] if left else []
    if chosen.averaged:
        notes.append(f"the weights are averages: those of {_path_words(chosen)}; the file has no others")
    matched = matched_words(chosen.part, weights.outline(chosen.table, chosen.classes))
    return chosen, [*notes, *([matched] if matched else [])]


def _path_words(fit: _Choice) -> str:
    return fit.part.path or "the file's first level"


def _same(one: Foreign, other: Foreign) -> bool:
    """Whether two sets of tensors are one, saved twice."""
    return set(one.tensors) == set(other.tensors) and all(
        tensor.shape == other.tensors[name].shape and torch.equal(tensor, other.tensors[name])
        for name, tensor in one.tensors.items()
    )


def _fits(part: Foreign, choices: Sequence[Table]) -> list[_Choice]:
    """The nets that a set of tensors may be of."""
    return [
        _Choice(part, table, classes)
        for table in choices
        for classes in _classes_of(part, table)
        if _difference(part, table, classes) is None
    ][: len(choices)]


def _difference(part: Foreign, table: Table, classes: int) -> str | None:
    try:
        return difference(part, weights.outline(table, classes), part.side or table.input[1])
    except WrongUse as error:
        return str(error)
    except RuntimeError:
        return f"it sees images of {part.side} pixels"


def _no_fit(parts: Sequence[Foreign], choices: Sequence[Table], asked: str | None, file: str) -> str:
    """Why a file holds no weights that are wanted, and what to do."""
    part = max(parts, key=lambda part: len(part.tensors))
    others = [load_table(name) for name in FIRST if name != asked]
    if len(choices) == 1:
        wrong = _difference(part, choices[0], _classes_of(part, choices[0])[0])
        fits = [fit.table.name for part in parts for fit in _fits(part, others)]
        hint = f"give --net {fits[0]}" if fits else "give --net with the .toml table of its layers"
        return f"{file}: these are not weights of {choices[0].name}: {wrong}; {hint}"
    name, tensor = next(iter(part.tensors.items()))
    return (
        f"{file}: holds no weights of a net that comes with alexnet; {len(part.tensors):,} tensors, the first "
        f"{name} ({shape_words(tensor)}); give --net with its .toml table"
    )


def _classes_of(part: Foreign, table: Table) -> list[int]:
    """Numbers of classes that may be meant: the rows of the last layer's weights, or of any where it is not named."""
    last = part.tensors.get(f"{list(table.layers)[-1]}.weight")
    rows = [len(tensor) for tensor in reversed(part.tensors.values()) if tensor.dim() == 2]
    return list(dict.fromkeys([len(last)] if last is not None and last.dim() else rows))[:MOST_LAYERS] or [1000]


MOST_LAYERS = 8  # fully connected, that may be the last


def _network(table: Table, classes: int, tensors: Mapping[str, Tensor], file: str) -> Network:
    """The net with a file's weights, in float32. Raises ``WrongUse`` or ``Failure`` where they cannot be taken."""
    return weights.filled(table, classes, {name: _usable(name, each, file) for name, each in tensors.items()}, file)


def _usable(name: str, tensor: Tensor, file: str) -> Tensor:
    """A tensor in float32, whatever it was saved as."""
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_meta:
        raise WrongUse(f"{file}: {name} has a shape and no numbers (it was saved on the meta device)")
    if tensor.layout != torch.strided:
        raise WrongUse(f"{file}: {name} is sparse; save it dense: tensor.to_dense()")
    if tensor.is_quantized or not tensor.is_floating_point() or tensor.element_size() < 2:
        raise WrongUse(
            f"{file}: {name} is {kind}; weights here are real floating-point numbers: of a quantised model, "
            "import the one that it was made from"
        )
    tensor = tensor.detach().float()
    if not bool(torch.isfinite(tensor).all()):
        raise Failure(
            f"{file}: {name} holds numbers that are not finite in float32: it is damaged, or its training went wrong"
        )
    return tensor


def _try(net: Network, side: int) -> None:
    """Runs a net once, on an image of its side. Raises ``WrongUse`` where that cannot be, or takes too much."""
    table = dataclasses.replace(net.table, input=(net.table.input[0], side, side))
    try:
        check_side(net.table, side)
        layers = costs(table, net.classes)
        for most, words, of_layer in (
            (MOST_MEMORY, "bytes of outputs", lambda layer: layer.memory),
            (MOST_WORK, "multiply-adds", lambda layer: layer.multiply_adds),
        ):
            largest = max(layers, key=of_layer)
            if of_layer(largest) > most:
                raise WrongUse(f"layer {largest.name}: {of_layer(largest):,} {words} an image; no AlexNet has as many")
        with torch.inference_mode():
            scores = net.eval().activations(torch.zeros(1, table.input[0], side, side), net.names[-1:])[net.names[-1]]
    except (ValueError, RuntimeError) as error:
        raise WrongUse(f"net {table.name} cannot be run on images of {side} pixels ({error})") from error
    if not bool(torch.isfinite(scores).all()):
        raise WrongUse(f"net {table.name} gives scores that are not finite")


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
    count: int, own: dict[str, Any], said: tuple[list[str], list[str] | None] | None, where: str
) -> tuple[list[str], list[str] | None]:
    """Names of the classes, and their words."""
    if said is not None:
        if len(said[0]) != count:
            raise WrongUse(f"--classes: {len(said[0])} classes, {where} has {count}")
        return said
    if own:
        if len(own["classes"]) != count:
            raise Failure(f"{where}: classes: {len(own['classes']):,} names, its last layer has {count:,}; {AGAIN}")
        return own["classes"], own.get("words")
    known = imagenet.classes()
    if count == len(known):
        return list(known), list(known.values())
    raise WrongUse(f"{where}: {count} classes, whose names are not in it; give --classes FILE, one a line")


MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be",
         codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}  # fmt: skip
NO_LETTERS = ("Cc", "Zl", "Zp")  # Unicode's categories of control characters and of ends of lines


def read_classes(file: str | os.PathLike) -> tuple[list[str], list[str] | None]:
    """A class a line; where every line begins with a WNID, words follow it.

    The text is UTF-8, or what the mark at its beginning says (UTF-16 from Windows, say).

    Raises:
        WrongUse: no such file, no text, no class, or one that comes twice; names the line.
    """
    if not files.exists(file) or files.is_folder(file):
        raise WrongUse(f"--classes {file}: no such file")
    if files.size(file) > MOST_CLASSES_BYTES:
        raise WrongUse(f"--classes {file}: {files.size(file):,} bytes; give a text with a class a line")
    lines = [line.strip() for line in re.split("\r\n|\r|\n", _text(files.read_bytes(file), f"--classes {file}"))]
    for number, line in enumerate(lines, 1):
        wrong = next((letter for letter in line if _no_letter(letter)), None)
        if wrong is not None:
            raise WrongUse(f"--classes {file}: line {number}: has the control character U+{ord(wrong):04X}; remove it")
    parts = [(number, re.fullmatch(r"(n\d{8})[\s,]+(.+)", line)) for number, line in enumerate(lines, 1) if line]
    with_words = all(part for _, part in parts)
    names = [(number, part[1] if with_words and part else lines[number - 1]) for number, part in parts]
    first: dict[str, int] = {}
    for number, name in names:
        if first.setdefault(name, number) != number:
            raise WrongUse(f"--classes {file}: line {number}: the class {name!r} comes twice (line {first[name]})")
    if not names:
        raise WrongUse(f"--classes {file}: is empty")
    return [name for _, name in names], [part[2] for _, part in parts if part] if with_words else None


def _text(content: bytes, where: str) -> str:
    """Text by the mark at its beginning, else UTF-8. Raises ``WrongUse`` with the line that is none."""
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    encoding = MARKS.get(mark, "utf-8")
    try:
        return content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        number = content[len(mark) : len(mark) + error.start].decode(encoding, "ignore").count("\n") + 1
        raise WrongUse(f"{where}: line {number}: is no text in {encoding.upper()}; save the file in UTF-8") from error


def _no_letter(letter: str) -> bool:
    return letter == "\ufeff" or (letter != "\t" and unicodedata.category(letter) in NO_LETTERS)


def _import_hub(source: Path, target: Path) -> Imported:
    """A folder that ``alexnet export RUN FOLDER`` made: the same run again, to the last bit."""
    signatures.refuse_folder(source)
    for name in HUB:
        if not (source / name).is_file():
            raise WrongUse(f"{source}: has no {name}; give a folder that `alexnet export` made, or a file of weights")
    where = str(source / "config.json")
    config = runs.read_described(source / "config.json", runs.Described, AGAIN)
    table = runs.table_of(config, where, AGAIN)
    tensors = {name: weights.load_tensors(source / name) for name in HUB[1:]}
    made = runs.preparation_of(config["preparation"], tensors[HUB[2]], where)
    state, last = tensors[HUB[1]], f"{list(table.layers)[-1]}.weight"
    names, words = _classes(len(state[last]) if last in state else len(config["classes"]), config, None, where)
    network = _network(table, len(names), state, str(source / "model.safetensors"))
    try:
        _try(network, made.crop)
    except WrongUse as error:
        raise Failure(f"{where}: {error}; {AGAIN}") from error
    _write(target, network, names, words, made, {**config["data"], "path": None}, config["errors"])
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
    described = runs.describe(network, list(names), list(words) if words else None, preparation, data)
    with contextlib.suppress(OSError):
        target.rmdir()  # empty, or another import's
    with files.atomic_folder(target) as partial:
        place = files.make_folder(partial / "checkpoints" / "last-00000000")
        write_checkpoint(place, 0, {"weights.safetensors": network.state()}, {})
        runs.begin(partial, {**described, "errors": errors or {}}, preparation)


def _imported(
    target: Path, network: Network, form: str, preparation: Preparation, notes: Sequence[str] = ()
) -> Imported:
    count = sum(tensor.numel() for tensor in network.tensors().values())
    words = f"{preparation.resize}, {preparation.size} pixels, crop {preparation.crop}"
    return Imported(str(target), network.table.name, form, network.classes, words, count, tuple(notes))
