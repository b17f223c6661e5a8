"""Commands for other people's weights, and ours for them: import, export."""

import dataclasses
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from alexnet.cli.options import File, Json, OfCheckpoint
from alexnet.cli.streams import print_json, say


@dataclasses.dataclass(frozen=True)
class Import(Json):
    """Import pretrained weights (torchvision, Caffe, ONNX) as a run. Nothing in the file is executed."""

    file: Positional[File]
    """.pth, .safetensors, .caffemodel, .onnx, or a folder that `alexnet export` made."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """Folder to write the run to."""

    net: Annotated[str | None, arg(metavar="NET")] = None
    """Name of a net, or path of a .toml table (default: recognized by the file's layers)."""

    preprocessing: Literal["caffe", "torchvision"] | None = None
    """How the net's images are preprocessed. caffe: warped to 256x256, 0..255 minus the mean. torchvision: shorter side
    256, 0..1, normalized (default: as is usual for the net)."""

    mean: File | None = None
    """With --preprocessing caffe: file of the mean image, .binaryproto (default: Caffe's own mean colors)."""

    color_order: Literal["rgb", "bgr"] | None = None
    """Order of the color channels that the weights were trained on (default: bgr for Caffe's files and the ONNX zoo's,
    else rgb)."""

    classes: File | None = None
    """Text file with one class per line, `n01440764 tench` or `tench` (default: ImageNet's thousand)."""

    def __call__(self) -> int:
        from alexnet.interchange.importing import import_weights

        made = import_weights(
            self.file, self.run, self.net, preprocessing=self.preprocessing, mean=self.mean, colors=self.color_order,
            classes=self.classes,
        )  # fmt: skip
        if self.json:
            return print_json(dataclasses.asdict(made))
        size = f"{made.parameters:,} parameters, {made.classes:,} classes"
        say(f"{made.run}: net {made.net}, {size}, from {made.format}; images: {made.preprocessing}")
        for note in made.notes:
            say(f"note: {note}")
        say(f"next: alexnet predict {made.run} PHOTO, or alexnet train DATASET RUN --from {made.run}")
        return 0


@dataclasses.dataclass(frozen=True)
class Export(OfCheckpoint, Json):
    """Export a run's net for other programs: ONNX, a folder for the Hugging Face hub, torchvision's state dict."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """Run to export."""

    file: Positional[File]
    """.onnx; .pth or .safetensors for torchvision.models.alexnet; a name without an ending: a folder for the Hugging
    Face hub."""

    without_preprocessing: bool = False
    """For ONNX: take preprocessed float images and give scores (default: take uint8 images and give probabilities)."""

    precision: Literal["float32", "int8"] = "float32"
    """For ONNX. int8: the weights of the fully connected layers are rounded to int8, for a file a third as large."""

    images: Annotated[str | None, arg(metavar="SOURCE")] = None
    """For ONNX: dataset or folder of images to check the file on (default: the dataset that the run was trained on)."""

    license: Annotated[str | None, arg(metavar="LICENSE")] = None
    """For the hub: license of the weights, by the hub's names: mit, cc-by-4.0, ... (default: not specified)."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.interchange.exporting import export

        machine.set_up()
        made = export(
            self.run,
            self.file,
            checkpoint=self.checkpoint,
            without_preprocessing=self.without_preprocessing,
            precision=self.precision,
            images=self.images,
            license=self.license,
        )
        if self.json:
            return print_json(dataclasses.asdict(made))
        say(f"{made.file}: {made.bytes / 2**20:,.1f} MiB")
        if made.largest_difference is not None:
            say(
                f"in ONNX Runtime on {made.images} images ({made.checked_on}): differs from ours by "
                f"{made.largest_difference:.1e} of the largest at most"
            )
        for note in made.notes:
            say(f"note: {note}")
        return 0
