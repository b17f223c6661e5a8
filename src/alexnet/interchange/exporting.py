"""A run for other programs: ONNX, a folder for the Hugging Face hub, a state dict for torchvision."""

import collections
import copy
import dataclasses
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F

from alexnet import files, machine
from alexnet.data import codec as stored_images
from alexnet.data.dataset import Dataset
from alexnet.data.preprocessing import views
from alexnet.data.synthetic import CLASSES, draw
from alexnet.errors import AlexNetError, UsageError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.predict import first_pictures
from alexnet.files import mistakes
from alexnet.interchange import card, onnx_writer, torch_file
from alexnet.nets.inference import for_inference
from alexnet.nets.network import Network
from alexnet.runs.checkpoint import AnyCheckpoint
from alexnet.runs.run import Run, describe, open_run

CHECKED = 100  # images that an ONNX file is checked on
MOST_DIFFERENCE = 1e-4  # of an image's largest probability or score
CHECK_BATCH = 25  # not the whole at once: the batch must be dynamic


@dataclasses.dataclass(frozen=True)
class Exported:
    """What ``export`` made.

    Attributes:
        file: its path, or the folder's.
        format: ``onnx``, ``hub`` or ``torchvision``.
        bytes: of the weights' file.
        images: on how many an ONNX file was checked.
        checked_on: where these came from.
        largest_difference: between ours and ONNX Runtime's, as a share of an image's largest probability or score;
            None where nothing was to be checked.
        notes: what whoever uses it must know.
    """

    file: str
    format: str
    bytes: int
    images: int = 0
    checked_on: str = ""
    largest_difference: float | None = None
    notes: tuple[str, ...] = ()


@machine.as_imported(gradients=False)
def export(
    run: Run | str | os.PathLike,
    file: str | os.PathLike,
    *,
    checkpoint: AnyCheckpoint = "last",
    without_preprocessing: bool = False,
    precision: Literal["float32", "int8"] = "float32",
    images: str | os.PathLike | None = None,
    license: str | None = None,
) -> Exported:
    """Writes a run's net for other programs; what is there appears whole, and ONNX only once it gave our answers.

    Args:
        run: opened, or its path.
        file: ``.onnx``; ``.pth`` or ``.safetensors``, a state dict with torchvision's names; or a folder for the hub,
            whose name may have dots.
        checkpoint: ``last``, ``best`` or a step, as for ``load``.
        without_preprocessing: ONNX: takes prepared images and gives scores; else uint8 images and probabilities.
        precision: ONNX: of the weights; int8: those of the fully connected layers.
        images: ONNX: a dataset, or a folder of images, to check on; the run's own if not given, and synthetic images
            where that is not there.
        license: hub: of the weights, by the hub's identifiers (``mit``, ``cc-by-4.0``, ...).

    Raises:
        UsageError: a form that this net does not have, or a package that is missing.
        AlexNetError: ONNX Runtime gives other answers than ours.
    """
    mistakes.check_order("export", ("run", run), ("new file", file))
    ending = next((ending for ending in (*ENDINGS, *OTHERS) if os.fspath(file).lower().endswith(ending)), "")
    if ending in OTHERS:
        raise UsageError(f"{file}: give a file ending in .onnx, .pth or .safetensors, or a folder for the hub")
    if precision not in ("float32", "int8"):
        raise UsageError(f"--precision {precision}: give float32 or int8")
    if ending != ".onnx" and (precision == "int8" or without_preprocessing or images is not None):
        raise UsageError(f"{file}: int8, images to check on, and leaving out the preprocessing are for .onnx files")
    if files.is_remote(file):
        return _sent(run, file, checkpoint, without_preprocessing, precision, images, license)
    if ending:
        files.check_output(file)
        _check_replaced(file)
    elif os.path.lexists(file):
        raise UsageError(f"{file}: is there already; give another folder")
    else:
        files.check_new_folder(file, "the hub")
    replaced = os.path.exists(file)
    opened = run if isinstance(run, Run) else run.run if isinstance(run, Classifier) else open_run(run, checkpoint)
    if ending == ".onnx":
        made = _export_onnx(opened, Path(file), not without_preprocessing, precision == "int8", images)
    elif ending:
        made = _export_torchvision(opened, Path(file))
    else:
        made = _export_hub(opened, Path(file), license)
    return dataclasses.replace(made, notes=(*made.notes, "replaced the file of this name")) if replaced else made


def _sent(run: Run | str | os.PathLike, file: str | os.PathLike, checkpoint: AnyCheckpoint, *options: Any) -> Exported:
    """As ``export``, to a URL: made here, then put there."""
    files.check_written(file)
    replaced = files.exists(file)
    if replaced and not os.fspath(file).lower().endswith(ENDINGS):
        raise UsageError(f"{file}: is there already; give another folder")
    _check_replaced(file)
    names = ("without_preprocessing", "precision", "images", "license")
    with files.sent(file) as place:
        made = export(run, place, checkpoint=checkpoint, **dict(zip(names, options)))
    notes = (*made.notes, "replaced the file of this name") if replaced else made.notes
    return dataclasses.replace(made, file=os.fspath(file), notes=notes)


def _check_replaced(file: str | os.PathLike) -> None:
    """Raises ``UsageError`` where a file is there that ``export`` has not written: other weights would be gone."""
    if not files.exists(file) or not files.size(file):
        return
    with files.open_read(file) as opened:
        head = opened.read(MARKED_BYTES)
    marks = (MARK.encode(), onnx_writer.PRODUCED) if os.fspath(file).lower().endswith(".onnx") else (MARK.encode(),)
    if not any(mark in head for mark in marks):
        raise UsageError(
            f"{file}: is there already, and is no file that `alexnet export` wrote; give another name, or remove the "
            "file"
        )


MARK = "written by alexnet export"  # in what is exported: only such a file is replaced
MARKED_BYTES = 1 << 16  # from the beginning, where the mark lies
ENDINGS = (".onnx", ".pth", ".pt", ".safetensors")
OTHERS = (  # of other programs' files: nobody would call a folder so
    *(".bin", ".caffemodel", ".ckpt", ".engine", ".gguf", ".h5", ".hdf5", ".json", ".keras", ".mat", ".mlmodel"),
    *(".mlpackage", ".msgpack", ".npy", ".npz", ".params", ".pb", ".pdparams", ".pickle", ".pkl", ".plan"),
    *(".prototxt", ".pt2", ".ptl", ".t7", ".tar", ".tflite", ".toml", ".torchscript", ".trt", ".xml", ".zip", ".gz"),
)


def _export_onnx(run: Run, file: Path, prepared: bool, narrow: bool, images: str | os.PathLike | None) -> Exported:
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError("an ONNX file is checked in ONNX Runtime: pip install 'alexnet[onnx]'") from error
    preprocessing = run.preprocessing.to("cpu")
    net = copy.deepcopy(run.net).cpu().float().eval()
    if narrow:
        net = for_inference(net, torch.float32, int8=True)
    described = {**_described(run), "noise": preprocessing.noise.flatten().tolist()}
    metadata = {
        "classes": files.to_json(run.words, indent=None),
        "images": files.plain(card.images_words(run, prepared)),
        onnx_writer.KEY: files.to_json(described, indent=None),
    }
    mean_and_scale = (preprocessing.mean_image, preprocessing.channel_scale()) if prepared else None
    content = onnx_writer.write_onnx(net, preprocessing.crop, metadata, mean_and_scale)
    pixels, origin = _pictures(run, images)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with files.atomic(file) as out:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        difference = largest_difference(
            net, run, pixels, prepared, lambda x: np.asarray(session.run(None, {"images": x})[0])
        )
        if not difference <= MOST_DIFFERENCE:
            raise AlexNetError(
                f"{file}: ONNX Runtime's answers on {len(pixels)} images differ from ours by up to {difference:.2g} "
                f"(allowed {MOST_DIFFERENCE:g}); nothing was written. Please report it with `alexnet doctor`"
            )
        out.write(content)
    return Exported(str(file), "onnx", len(content), len(pixels), origin, difference)


def _described(run: Run) -> dict:
    """What ``run.json`` says of a run; where its data lie on this disk is nobody's business."""
    words = run.words if run.words != run.classes else None
    data = {**run.data, "path": None, "store": run.data.get("store"), "images": run.data.get("images") or {}}
    data["name"] = card.data_name(run)
    return {**describe(run.net, run.classes, words, run.preprocessing, data), "errors": run.errors}


def largest_difference(
    net: Network, run: Run, pixels: np.ndarray, prepared: bool, other: Callable[[np.ndarray], np.ndarray]
) -> float:
    """Between our answers in float32 and another engine's, as a share of each image's largest.

    Args:
        net: the run's, in the form that was exported.
        run: whose preprocessing.
        pixels: (n, size, size, 3) uint8.
        prepared: the other takes these and gives probabilities; else it takes prepared crops and gives scores.
        other: of a batch.

    Returns:
        NaN where an answer is no number.
    """
    differences = []
    for part in np.array_split(pixels, max(1, len(pixels) // CHECK_BATCH)):
        planes = torch.from_numpy(part).permute(0, 3, 1, 2)
        seen = run.preprocessing.to("cpu").apply(views(planes, run.preprocessing.crop, 1)[0], torch.float32)
        with torch.inference_mode():
            ours = net.eval()(seen)
        ours = F.softmax(ours, 1) if prepared else ours
        theirs = torch.from_numpy(other(part if prepared else seen.contiguous().numpy()))
        differences.append((ours - theirs).abs().amax(1) / ours.abs().amax(1))
    return float(torch.cat(differences).max())


def _pictures(run: Run, images: str | os.PathLike | None) -> tuple[np.ndarray, str]:
    """(n, size, size, 3) uint8, at most ``CHECKED``, and where they are from."""
    size = run.preprocessing.size
    path = images if images is not None else run.data.get("path")
    if images is not None and not files.exists(files.join(images, "dataset.json")):
        _, pictures = first_pictures(run, [images], CHECKED)
        return np.stack(pictures), str(images)
    if path and files.exists(files.join(path, "dataset.json")):
        dataset = _dataset(path, asked=images is not None)
        if images is not None and (dataset is None or dataset.size != size or not len(dataset.labels)):
            pixels = dataset.size if dataset else 0
            raise UsageError(f"--images {images}: holds no images, or of {pixels} pixels; the run's have {size}")
        if dataset and dataset.size == size and len(dataset.labels):
            rows = np.linspace(0, len(dataset.labels) - 1, min(CHECKED, len(dataset.labels))).astype(int)
            return np.stack([dataset.image(int(row)) for row in rows]), str(path)
    drawn = [draw(index, index % len(CLASSES)) for index in range(CHECKED)]
    return np.stack([stored_images.decode_square(picture, size) for picture in drawn]), "synthetic images"


def _dataset(path: str | os.PathLike, asked: bool) -> Dataset | None:
    """A dataset; None where it cannot be read and nobody asked for it."""
    try:
        return Dataset(path)
    except (AlexNetError, OSError):
        if asked:
            raise
        return None


def _export_torchvision(run: Run, file: Path) -> Exported:
    if run.net.table.name != "torchvision":
        raise UsageError(
            f"{file}: a state dict is for net torchvision, this run's is {run.net.table.name}; give .onnx or a folder"
        )
    state = {name: value.detach().cpu().contiguous() for name, value in run.net.tensors().items()}
    tensors = torch_file.torchvision_names(state)
    if file.suffix.lower() == ".safetensors":
        content = _in_order(safetensors.torch.save(tensors, {"format": "pt", "comment": MARK}))
    else:
        buffer, marked = io.BytesIO(), collections.OrderedDict(tensors)
        marked._metadata = {"": {"comment": MARK}}  # pyright: ignore  # where torch keeps a module's version
        torch.save(marked, buffer)
        content = buffer.getvalue()
    files.write_bytes(file, content)
    note = f"its images: {card.images_words(run, False)}"
    return Exported(str(file), "torchvision", len(content), notes=(note,))


def _in_order(content: bytes) -> bytes:
    """A safetensors file whose metadata are in order: the library writes them in another one each time."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[end:]


def _export_hub(run: Run, folder: Path, license: str | None) -> Exported:
    """``model.safetensors``, ``config.json``, ``preparation.safetensors`` and the card, as the hub shows them."""
    config = {
        "architectures": ["AlexNet"],
        "model_type": "alexnet",
        "num_labels": len(run.classes),
        "id2label": {str(i): word for i, word in enumerate(run.words)},
        "label2id": {word: i for i, word in reversed(list(enumerate(run.words)))},
        **_described(run),
    }
    preprocessing = {"mean_image": run.preprocessing.mean_image.cpu(), "noise": run.preprocessing.noise.cpu()}
    state = {name: value.detach().cpu().contiguous() for name, value in run.net.state().items()}
    content = safetensors.torch.save(state, {"format": "pt"})
    recipe = files.read_copy(run.path) / "recipe.json"
    text = card.write(run, files.read_json(recipe, dict) if recipe.exists() else None, license)
    with files.atomic_folder(folder) as partial:
        files.write_bytes(partial / "model.safetensors", content)
        files.write_bytes(partial / "preparation.safetensors", safetensors.torch.save(preprocessing))
        files.write_json(partial / "config.json", config)
        files.write_bytes(partial / "README.md", files.plain(text).encode("utf-8"))
    return Exported(str(folder), "hub", len(content))
