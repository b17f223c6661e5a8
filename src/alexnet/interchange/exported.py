"""What our own exporter wrote beside the weights in an ONNX file, read back and checked."""

from typing import Annotated, Any

from alexnet import files
from alexnet.errors import AlexNetError
from alexnet.files import Length
from alexnet.interchange.foreign import Foreign
from alexnet.interchange.onnx_writer import KEY
from alexnet.runs.run import Described, described

AGAIN = "it was changed since `alexnet export` wrote it: export it again"


class InOnnx(Described):
    """What our own exporter writes into an ONNX file."""

    noise: Annotated[list[float], Length(9, 9)]


def own_description(part: Foreign, file: str) -> dict[str, Any]:
    """What our own exporter wrote beside the weights; empty where another one did.

    Raises:
        AlexNetError: it is not as that writes it.
        UsageError: it is of a newer version's.
    """
    if KEY not in part.metadata:
        return {}
    where = f"{file}: metadata {KEY!r}"
    try:
        content = files.checked(files.parse_json(part.metadata[KEY]), dict)
    except ValueError as error:
        raise AlexNetError(f"{where}: not readable as JSON ({error}); {AGAIN}") from error
    own = described(content, InOnnx, where, AGAIN)
    crop = own["preparation"].get("crop")
    if part.side is not None and crop != part.side:
        raise AlexNetError(f"{where}: preprocessing.crop: {crop}, but its graph sees {part.side} pixels; {AGAIN}")
    return {**own, "mean_image": part.metadata.get("mean_image")}
