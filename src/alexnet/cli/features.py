"""The command that writes activations of layers: features."""

import contextlib
import dataclasses
import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from alexnet.cli.options import OfCheckpoint, OnDevice, Split, Working
from alexnet.cli.streams import print_json, say, warn
from alexnet.errors import AlexNetError, UsageError, check_threads
from alexnet.files import mistakes
from alexnet.progress import Display, clock, plural, size_text

if TYPE_CHECKING:
    from alexnet.evaluation.stimuli import Fit


BACKGROUND = "gray"


@dataclasses.dataclass(frozen=True)
class Features(OfCheckpoint, OnDevice, Working):
    """Write the activations of layers for a set of images to a file, in the format of your tools."""

    run: Positional[Annotated[str, arg(metavar="RUN")]]
    """A trained or imported run."""

    source: Positional[Annotated[str, arg(metavar="SOURCE")]]
    """A dataset; an image, or a folder or archive of images; a CSV whose column path names images, in its order, and
    whose other columns go into the file; or anything else that prepare reads."""

    file: Positional[Annotated[str, arg(metavar="FILE")]]
    """File to write: .npy, .h5 (or .hdf5), .mat, .nc (Brain-Score), .parquet, .arrow or .safetensors."""

    layer: Annotated[tuple[str, ...], arg(metavar="LAYER,...")] = ("fc7",)
    """Layers such as conv5,fc7, after their activation function; conv5:before is before it. Names of torchvision,
    thingsvision, Brain-Score (features.11) and Caffe are understood."""

    split: Split | None = None
    """Split of a dataset (default: val)."""

    views: Literal[1, 9, 10] = 1
    """Crops of each image whose activations are averaged. 1: the center. 10: corners and center, and their flips (paper
    4.1). 9: a 3x3 grid."""

    pool: Literal["mean", "max"] | None = None
    """Write one number per map: the mean or the largest over its positions (default: whole maps)."""

    stimuli: Literal["resized", "exact"] = "resized"
    """exact: feed the files' pixels unchanged; images of another size than the net sees are refused."""

    fit: Literal["crop", "pad"] = "crop"
    """crop: as in training. pad: show whole images on a background."""

    background: Annotated[str, arg(metavar="COLOR")] = BACKGROUND
    """Color of the background with --fit pad and --degrees: a name, or #rrggbb."""

    degrees: float | None = None
    """Degrees of visual angle that the net sees (Brain-Score's convention: 8). With --stimulus-degrees: images are
    placed on a canvas of that size, or cropped to it, then scaled whole (default: not given)."""

    stimulus_degrees: float | None = None
    """Degrees of visual angle that the images had in the experiment (default: not given)."""

    without_dropout_factor: bool = False
    """Leave out the factor of dropout at test (paper 4.2: 0.5 in fc6 and fc7)."""

    precision: Literal["float32", "auto", "bf16", "fp16", "int8"] = "float32"
    """Precision of matrix products and convolutions; the file holds float32. auto: bf16 where the machine is fast at
    it; then activations differ by about a hundredth."""

    workers: int = 2
    """Threads that decode images."""

    def __call__(self) -> int:
        from alexnet import machine
        from alexnet.evaluation.classifier import load
        from alexnet.science.features import write_features

        self._check()
        mistakes.check_order("features", ("run", self.run), ("stimuli", self.source), ("new file", self.file))
        machine.set_up()
        run = load(self.run, self.checkpoint, machine.choose_device(self.device), self.precision)
        fit, fit_words = self._fit(run.preprocessing.crop)
        display = Display(unit="images")
        with contextlib.closing(display):
            written = write_features(
                run, self.source, self.file, self.layer, split=self.split, views=self.views, pool=self.pool,
                fit=fit, fit_words=fit_words, dropout_factor=not self.without_dropout_factor,
                precision=self.precision, workers=self.workers, note=warn, tell=display.line,
                progress=display.counter("computing activations"),
            )  # fmt: skip
        if self.json:
            print_json(dataclasses.asdict(written))
        else:
            self._say(written, run.net)
        if written.bad:
            others = "the other one is" if written.images == 1 else f"the other {written.images:,} are"
            raise AlexNetError(
                f"{plural(written.bad, 'image')} could not be read (see above) and "
                f"{'was' if written.bad == 1 else 'were'} left out; {others} written"
            )
        return 0

    def _check(self) -> None:
        """Raises ``UsageError`` for options that do not go together."""
        check_threads("--workers", self.workers)
        if (self.degrees is None) != (self.stimulus_degrees is None):
            raise UsageError(
                "--degrees and --stimulus-degrees: give both, the degrees that the net sees and those of the images"
            )
        chosen = {"--stimuli exact": self.stimuli == "exact", "--fit pad": self.fit == "pad",
                  "--degrees": self.degrees is not None}  # fmt: skip
        several = [option for option, on in chosen.items() if on]
        if len(several) > 1:
            raise UsageError(f"{' and '.join(several)}: cannot be combined; give one of them")
        if self.background != BACKGROUND and not {"--fit pad", "--degrees"} & {*several}:
            raise UsageError(
                f"--background {self.background}: is used with --fit pad or --degrees; give one of them, or leave "
                "--background out"
            )
        if not any(self.layer):
            raise UsageError("--layer: name one or more layers, such as fc7")
        if self.file.endswith(("/", os.sep)):
            raise UsageError(f"{self.file}: ends like a folder; give the name of a file")

    def _fit(self, side: int) -> "tuple[Fit | None, str | None]":
        """What makes of an image what the net takes, where it is not as in training; and in words."""
        from alexnet.science import fits

        background = fits.color(self.background)
        if self.stimuli == "exact":
            return fits.exact(side), "pixels unchanged"
        if self.fit == "pad":
            return fits.padded(side, background), f"whole, on {self.background}"
        if self.degrees is None or self.stimulus_degrees is None:
            return None, None
        words = f"{self.stimulus_degrees:g} degrees on a screen of {self.degrees:g}, {self.background} around"
        return fits.on_screen(side, self.degrees, self.stimulus_degrees, background), words

    def _say(self, written: Any, net: Any) -> None:
        """What is there now."""
        for layer, shape in written.layers.items():
            factor = net.dropout_factor(layer)
            scaled = ""
            if factor != 1:
                how = "without" if self.without_dropout_factor else "with"
                scaled = f"; {how} dropout's factor at test, {factor:g}"
            say(f"{layer}: {written.images:,} x {' x '.join(map(str, shape))} float32{scaled}")
        say(f"written: {', '.join(written.files)} ({size_text(written.bytes)}, {clock(written.seconds)})")
