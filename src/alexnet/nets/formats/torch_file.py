"""torch's files (zip and the older pickle) and safetensors, with torchvision's names or ours. No code is executed."""

import os
import pickle
import re
import warnings

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from alexnet.errors import Failure
from alexnet.nets.formats.foreign import Foreign

# torchvision/models/alexnet.py: places in its `features` and `classifier`
TORCHVISION = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "fc8": "classifier.6",
}


def is_safetensors(head: bytes) -> bool:
    """Whether a file that begins so is safetensors: eight bytes of length, then JSON."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 27


def is_torch(head: bytes) -> bool:
    """Whether a file that begins so may be torch's: a zip, or a pickle of the older kind."""
    return head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04"))


def read_safetensors(path: str | os.PathLike) -> Foreign:
    """A safetensors file's tensors. Raises ``Failure`` where it is damaged."""
    try:
        tensors = load_file(os.fspath(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise Failure(f"{path}: not readable as safetensors ({error}); fetch it again") from error
    return Foreign("safetensors", our_names(tensors))


def read_torch(path: str | os.PathLike) -> Foreign:
    """A state dict from ``torch.save``, or one that lies within ``state_dict`` or ``model`` of a checkpoint.

    Raises:
        Failure: truncated, no state dict, or a pickle that asks for more than tensors; nothing of it is executed.
    """
    with open(path, "rb") as file:
        kind = "torch, zip" if file.read(2) == b"PK" else "torch, the older pickle"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old protocols
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"(?:Unsupported global|GLOBAL|class) [:`']*\s*(?:GLOBAL )?([\w.]+)", str(error))
        asked = f"it asks for {wanted[1]}, which is no tensor" if wanted else "it asks for more than tensors"
        if "global" not in str(error).lower() and "class" not in str(error).lower():
            raise Failure(f"{path}: not readable as a torch file; it is damaged or cut off; fetch it again") from error
        raise Failure(
            f"{path}: refused: {asked}; a pickle can run any program, so nothing of it was executed. "
            "Ask its maker for a state dict or safetensors"
        ) from error
    except Exception as error:  # torch raises almost anything on damaged bytes
        raise Failure(f"{path}: not readable as a torch file; it is damaged or cut off; fetch it again") from error
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(isinstance(each, Tensor) for each in found.values()):
        raise Failure(f"{path}: holds no state dict (tensors by name), but {type(found).__name__}")
    if sum(each.numel() * each.element_size() for each in found.values()) > os.path.getsize(path):
        raise Failure(f"{path}: claims more numbers than it has bytes; it is damaged, or made to fill the memory")
    return Foreign(kind, our_names(found))


def our_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's names as ours; those of ``DataParallel``, too. Others stay as they are."""
    plain = {str(name).replace("module.", ""): tensor for name, tensor in tensors.items()}
    ours = {f"{other}.{kind}": f"{own}.{kind}" for own, other in TORCHVISION.items() for kind in ("weight", "bias")}
    return {ours.get(name, name): tensor for name, tensor in plain.items()}


def torchvision_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our names as torchvision's."""
    return {
        f"{TORCHVISION[layer]}.{kind}": tensor
        for (layer, kind), tensor in ((name.split("."), tensor) for name, tensor in tensors.items())
    }
