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
    """Folder to make."""

    net: Annotated[str | None, arg(metavar="NET")] = None
    """Name of a net, or path of a .toml table (default: recognized by the file's layers)."""

    preprocessing: Literal["caffe", "torchvision"] | None = None
    """How images are preprocessed. caffe: 256x256 warped, 0..255 minus mean. torchvision: shorter side 256, 0..1,
    normalized (default: as is usual for the net)."""

    mean: File | None = None
    """With --preprocessing caffe: its mean image, .binaryproto (default: Caffe's own mean colors)."""

    color_order: Literal["rgb", "bgr"] | None = None
    """Order of the color channels that the file's weights see (default: bgr for Caffe's files and the ONNX zoo's, else
    rgb)."""

    classes: File | None = None
    """Text file with a class per line, `n01440764 tench` or `tench` (default: ImageNet's thousand)."""

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
    """A run."""

    file: Positional[File]
    """.onnx; .pth or .safetensors for torchvision.models.alexnet; without an ending: a folder for the hub."""

    without_preprocessing: bool = False
    """ONNX: the file takes preprocessed float images and gives scores. Else it takes uint8 images and gives
    probabilities."""

    precision: Literal["float32", "int8"] = "float32"
    """ONNX. int8: the weights of the fully connected layers are rounded to int8; the file is a third as large."""

    images: Annotated[str | None, arg(metavar="SOURCE")] = None
    """ONNX: dataset or folder of images to check the file on (default: the dataset that the run was trained on)."""

    license: Annotated[str | None, arg(metavar="LICENSE")] = None
    """Hub: of the weights, by the hub's names: mit, cc-by-4.0, ... (default: not specified)."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.interchange.exporting import export

        machine.set_up()
        made = export(
            self.run,
            self.file,
            checkpoint=self.checkpoint,
            with_preprocessing=not self.without_preprocessing,
            narrow=self.precision == "int8",
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
