"""A run for other programs: ONNX, a folder for the Hugging Face hub, a state dict for torchvision."""

import copy
import dataclasses
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F

from alexnet import evaluation, files, machine
from alexnet import run as runs
from alexnet.data import images as stored_images
from alexnet.data.augment import views
from alexnet.data.demo import CLASSES, draw
from alexnet.data.store import Store
from alexnet.errors import Failure, WrongUse
from alexnet.interchange import card, onnx_writer, torch_file
from alexnet.nets.inference import for_inference
from alexnet.nets.network import Network
from alexnet.run import Run

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
    checkpoint: str = "last",
    with_preparation: bool = True,
    narrow: bool = False,
    images: str | os.PathLike | None = None,
    licence: str | None = None,
) -> Exported:
    """Writes a run's net for other programs; what is there appears whole, and ONNX only once it gave our answers.

    Args:
        run: opened, or its path.
        file: ``.onnx``; ``.pth`` or ``.safetensors``, a state dict with torchvision's names; or a folder for the hub,
            whose name may have dots.
        checkpoint: ``last`` or ``best``.
        with_preparation: ONNX: takes uint8 images and gives probabilities; else prepared images and scores.
        narrow: ONNX: the fully connected layers' weights in int8.
        images: ONNX: a store, or a folder of images, to check on; the run's own store if not given, and drawn images
            where that is not there.
        licence: hub: of the weights, by the hub's identifiers (``mit``, ``cc-by-4.0``, ...).

    Raises:
        WrongUse: a form that this net does not have, or a package that is missing.
        Failure: ONNX Runtime gives other answers than ours.
    """
    ending = next((ending for ending in (*ENDINGS, *OTHERS) if os.fspath(file).lower().endswith(ending)), "")
    if ending in OTHERS:
        raise WrongUse(f"{file}: give a file ending in .onnx, .pth or .safetensors, or a folder for the hub")
    if ending != ".onnx" and (narrow or not with_preparation or images is not None):
        raise WrongUse(f"{file}: int8, images to check on, and leaving out the preparation are for .onnx files")
    if ending:
        files.check_output(file)
    elif os.path.lexists(file):
        raise WrongUse(f"{file}: is there already; give another folder")
    else:
        runs.check_new_folder(file, "the hub")
    opened = run if isinstance(run, Run) else runs.load(run, checkpoint)
    if ending == ".onnx":
        return _export_onnx(opened, Path(file), with_preparation, narrow, images)
    if ending:
        return _export_torchvision(opened, Path(file))
    return _export_hub(opened, Path(file), licence)


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
        raise WrongUse("an ONNX file is checked in ONNX Runtime: pip install 'alexnet[onnx]'") from error
    preparation = run.preparation.to("cpu")
    net = copy.deepcopy(run.net).cpu().float().eval()
    if narrow:
        net = for_inference(net, torch.float32, int8=True)
    described = {**_described(run), "noise": preparation.noise.flatten().tolist()}
    metadata = {
        "classes": files.to_json(run.words, indent=None),
        "images": files.plain(card.images_words(run, prepared)),
        onnx_writer.KEY: files.to_json(described, indent=None),
    }
    mean_and_scale = (preparation.mean_image, preparation.channel_scale()) if prepared else None
    content = onnx_writer.write_onnx(net, preparation.crop, metadata, mean_and_scale)
    pixels, origin = _pictures(run, images)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with files.atomic(file) as out:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        difference = largest_difference(
            net, run, pixels, prepared, lambda x: np.asarray(session.run(None, {"images": x})[0])
        )
        if not difference <= MOST_DIFFERENCE:
            raise Failure(
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
    return {**runs.describe(run.net, run.classes, words, run.preparation, data), "errors": run.errors}


def largest_difference(
    net: Network, run: Run, pixels: np.ndarray, prepared: bool, other: Callable[[np.ndarray], np.ndarray]
) -> float:
    """Between our answers in float32 and another engine's, as a share of each image's largest.

    Args:
        net: the run's, in the form that was exported.
        run: whose preparation.
        pixels: (n, size, size, 3) uint8.
        prepared: the other takes these and gives probabilities; else it takes prepared crops and gives scores.
        other: of a batch.

    Returns:
        NaN where an answer is no number.
    """
    differences = []
    for part in np.array_split(pixels, max(1, len(pixels) // CHECK_BATCH)):
        planes = torch.from_numpy(part).permute(0, 3, 1, 2)
        seen = run.preparation.to("cpu").apply(views(planes, run.preparation.crop, 1)[0], torch.float32)
        with torch.inference_mode():
            ours = net.eval()(seen)
        ours = F.softmax(ours, 1) if prepared else ours
        theirs = torch.from_numpy(other(part if prepared else seen.contiguous().numpy()))
        differences.append((ours - theirs).abs().amax(1) / ours.abs().amax(1))
    return float(torch.cat(differences).max())


def _pictures(run: Run, images: str | os.PathLike | None) -> tuple[np.ndarray, str]:
    """(n, size, size, 3) uint8, at most ``CHECKED``, and where they are from."""
    size = run.preparation.size
    path = images if images is not None else run.data.get("path")
    if images is not None and not files.exists(files.join(images, "dataset.json")):
        _, pictures, _ = evaluation.picture_shares(run, [images], CHECKED, precision="float32")
        return np.stack(pictures), str(images)
    if path and files.exists(files.join(path, "dataset.json")):
        store = _store(path, asked=images is not None)
        if images is not None and (store is None or store.size != size or not len(store.labels)):
            pixels = store.size if store else 0
            raise WrongUse(f"--images {images}: holds no images, or of {pixels} pixels; the run's have {size}")
        if store and store.size == size and len(store.labels):
            rows = np.linspace(0, len(store.labels) - 1, min(CHECKED, len(store.labels))).astype(int)
            return np.stack([store.image(int(row)) for row in rows]), str(path)
    drawn = [draw(index, index % len(CLASSES)) for index in range(CHECKED)]
    return np.stack([stored_images.decode_square(picture, size) for picture in drawn]), "drawn images"


def _store(path: str | os.PathLike, asked: bool) -> Store | None:
    """A store; None where it cannot be read and nobody asked for it."""
    try:
        return Store(path)
    except (Failure, WrongUse, OSError):
        if asked:
            raise
        return None


def _export_torchvision(run: Run, file: Path) -> Exported:
    if run.net.table.name != "torchvision":
        raise WrongUse(
            f"{file}: a state dict is for net torchvision, this run's is {run.net.table.name}; give .onnx or a folder"
        )
    state = {name: value.detach().cpu().contiguous() for name, value in run.net.tensors().items()}
    tensors = torch_file.torchvision_names(state)
    if file.suffix.lower() == ".safetensors":
        content = safetensors.torch.save(tensors, {"format": "pt"})
    else:
        buffer = io.BytesIO()
        torch.save(tensors, buffer)
        content = buffer.getvalue()
    files.write_bytes(file, content)
    note = f"its images: {card.images_words(run, False)}"
    return Exported(str(file), "torchvision", len(content), notes=(note,))


def _export_hub(run: Run, folder: Path, licence: str | None) -> Exported:
    """``model.safetensors``, ``config.json``, ``preparation.safetensors`` and the card, as the hub shows them."""
    config = {
        "architectures": ["AlexNet"],
        "model_type": "alexnet",
        "num_labels": len(run.classes),
        "id2label": {str(i): word for i, word in enumerate(run.words)},
        "label2id": {word: i for i, word in reversed(list(enumerate(run.words)))},
        **_described(run),
    }
    preparation = {"mean_image": run.preparation.mean_image.cpu(), "noise": run.preparation.noise.cpu()}
    state = {name: value.detach().cpu().contiguous() for name, value in run.net.state().items()}
    content = safetensors.torch.save(state, {"format": "pt"})
    recipe = Path(run.path) / "recipe.json"
    text = card.write(run, files.read_json(recipe, dict) if recipe.exists() else None, licence)
    with files.atomic_folder(folder) as partial:
        files.write_bytes(partial / "model.safetensors", content)
        files.write_bytes(partial / "preparation.safetensors", safetensors.torch.save(preparation))
        files.write_json(partial / "config.json", config)
        files.write_bytes(partial / "README.md", files.plain(text).encode("utf-8"))
    return Exported(str(folder), "hub", len(content))
