"""torch's files (zip and the older pickle) and safetensors, with torchvision's names or ours. No code is executed."""

import collections
import io
import os
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence

import torch
from safetensors import SafetensorError
from torch import Tensor

from alexnet.errors import AlexNetError
from alexnet.files.signatures import is_utf8, read_tensors
from alexnet.interchange.foreign import Foreign

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
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}  # anywhere in a name
SCALARS = {"n_averaged", "num_batches_tracked", "num_updates", "decay", "step", "steps", "initted", "updates"}
AVERAGED = re.compile(r"(^|[._])(ema|swa|avg|averaged?|teacher|target|shadow)", re.IGNORECASE)
OPTIMIZERS = re.compile(
    r"(^|[._])(optim|opt(_state)?s?$|momentum|velocit|exp_avg|moments?$|grad|scaler|lr_sched)", re.IGNORECASE
)
KINDS = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
MOST_PICKLE = 1 << 20  # bytes of what lies around the numbers
MOST_COPIED = 1 << 31  # bytes that its calls may copy
MOST_PARTS = 64  # sets of tensors in a file
MOST_DEPTH = 8  # of names whose beginnings differ
MOST_LEVELS = 32  # of dicts in dicts
MOST_VALUES = 1 << 16  # that are looked at for tensors
SAVE = "torch.save(net.state_dict(), FILE)"


def read_safetensors(path: str | os.PathLike) -> list[Foreign]:
    """The sets of tensors in a safetensors file. Raises ``AlexNetError`` where it is damaged."""
    try:
        tensors = read_tensors(path)
    except (SafetensorError, OSError, ValueError, LookupError, AttributeError) as error:
        raise AlexNetError(f"{path}: not readable as safetensors ({error}); fetch it again") from error
    if not tensors:
        raise AlexNetError(f"{path}: holds no tensors")
    return [
        Foreign("safetensors", part, path=key, ordered=False) for key, part in list(_parts("", tensors))[:MOST_PARTS]
    ]


def read_torch(path: str | os.PathLike) -> list[Foreign]:
    """The sets of tensors in a file of ``torch.save``: a state dict, or those that lie anywhere in a checkpoint.

    Raises:
        AlexNetError: truncated, no state dict, or a pickle that asks for more than tensors; nothing of it is executed.
    """
    with open(path, "rb") as file:
        is_zip = file.read(2) == b"PK"
    kind = "torch, zip" if is_zip else "torch, the older pickle"
    damaged = AlexNetError(f"{path}: not readable as a torch file; it is damaged or cut off; fetch it again")
    try:
        _check_pickle(_zips_pickle(path) if is_zip else _older_pickle(path), path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old protocols
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=(is_zip and is_utf8(path)) or None)
    except AlexNetError:
        raise
    except pickle.UnpicklingError as error:
        if "global" not in str(error).lower() and "class" not in str(error).lower():
            raise damaged from error
        wanted = re.search(r"(?:Unsupported global|GLOBAL|class) [:`']*\s*(?:GLOBAL )?([\w.]+)", str(error))
        raise _refused(path, f"it asks for {wanted[1]}, which is no tensor" if wanted else MORE) from error
    except Exception as error:  # torch raises almost anything on damaged bytes
        raise damaged from error
    parts = [
        Foreign(kind, part, path=inner) for key, tensors in _dicts(content) for inner, part in _parts(key, tensors)
    ]
    tensors = [tensor for part in parts for tensor in part.tensors.values() if tensor.layout == torch.strided]
    sizes = _records(path) if is_zip else None
    for tensor in (tensor for tensor in tensors if not tensor.is_meta):
        held = tensor.untyped_storage().nbytes()
        if tensor.numel() * tensor.element_size() > held or (sizes is not None and held not in sizes):
            raise AlexNetError(f"{path}: claims more numbers than it has bytes; {DAMAGED}")
    if not parts:
        optimizer = isinstance(content, Mapping) and (
            _is_optimizer(content) or any(OPTIMIZERS.search(str(key)) for key in content)
        )
        what = "an optimizer's state" if optimizer else type(content).__name__
        raise AlexNetError(f"{path}: holds no state dict (tensors by name), but {what}; {SAVE} makes one")
    return parts[:MOST_PARTS]


MORE = "it asks for more than tensors"


def _refused(path: str | os.PathLike, asked: str) -> AlexNetError:
    return AlexNetError(
        f"{path}: refused: {asked}; a pickle can run any program, so nothing of it was executed. "
        f"Ask its maker for a state dict or safetensors ({SAVE})"
    )


def _zips_pickle(path: str | os.PathLike) -> bytes:
    """What torch would unpickle of a zip, once its members are no larger than the file."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise AlexNetError(
                f"{path}: refused: its parts are compressed, which torch.save never does, and may fill the memory"
            )
        if sum(member.file_size for member in members) > os.path.getsize(path):
            raise AlexNetError(f"{path}: claims more numbers than it has bytes; {DAMAGED}")
        pickled = next(member for member in members if member.filename.rpartition("/")[2] == "data.pkl")
        if pickled.file_size > MOST_PICKLE:
            raise _too_much(path)
        return archive.read(pickled)


def _records(path: str | os.PathLike) -> set[int]:
    """The sizes of the members of a zip that hold numbers."""
    with zipfile.ZipFile(path) as archive:
        return {0, *(member.file_size for member in archive.infolist())}


DAMAGED = "it is damaged, or made to fill the memory"


def _older_pickle(path: str | os.PathLike) -> bytes:
    """The pickles of an older file: its number, the format's version, the system, the object, names of the storages."""
    with open(path, "rb") as file:
        head = io.BytesIO(file.read(MOST_PICKLE))
    try:
        for _ in range(5):
            for _ in pickletools.genops(head):
                pass
    except ValueError as error:
        if os.path.getsize(path) > MOST_PICKLE:
            raise _too_much(path) from error
        raise
    return head.getvalue()[: head.tell()]


def _too_much(path: str | os.PathLike) -> AlexNetError:
    return AlexNetError(
        f"{path}: holds more than {MOST_PICKLE:,} bytes besides its numbers; save the state dict alone ({SAVE})"
    )


def _check_pickle(pickled: bytes, path: str | os.PathLike) -> None:
    """Refuses what torch would execute though it fills the memory. Raises ``AlexNetError``."""
    calls, head = 0, io.BytesIO(pickled)
    while head.tell() < len(pickled):
        for operation, argument, _ in pickletools.genops(head):
            calls += operation.name == "REDUCE"
            if operation.name == "GLOBAL" and argument in ("builtins bytearray", "__builtin__ bytearray"):
                raise _refused(path, "it asks for bytearray, which is no tensor")
    if calls * len(pickled) > MOST_COPIED:
        raise _too_much(path)


def _is_optimizer(content: Mapping) -> bool:
    return "param_groups" in content and "state" in content


def _dicts(content: object) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every dict and list of tensors in a checkpoint, with where it lies; an optimizer's are no weights."""
    seen: set[int] = set()
    waiting = collections.deque([("", content, 0)])
    while waiting and len(seen) < MOST_VALUES:
        key, value, level = waiting.popleft()
        optimizer = (isinstance(value, Mapping) and _is_optimizer(value)) or OPTIMIZERS.search(key)
        if id(value) in seen or optimizer or not isinstance(value, Mapping | list | tuple):
            continue
        seen.add(id(value))
        items = list(value.items() if isinstance(value, Mapping) else enumerate(value))  # pyright: ignore
        tensors = {str(name): inner for name, inner in items if isinstance(inner, Tensor)} or _of_layers(items)
        if any(tensor.dim() for tensor in tensors.values()):
            yield key, tensors
        if level < MOST_LEVELS:
            inners = [(name, inner) for name, inner in items if isinstance(inner, Mapping | list | tuple)]
            waiting += [(_below(key, name), inner, level + 1) for name, inner in inners]


def _of_layers(items: Sequence[tuple[object, object]]) -> dict[str, Tensor]:
    """The tensors of ``{"conv1": {"weight": ..., "bias": ...}, ...}`` under the names of a state dict."""
    if len(items) < 2 or not all(
        isinstance(layer, Mapping) and layer and all(isinstance(inner, Tensor) for inner in layer.values())
        and set(map(str, layer)) <= KINDS
        for _, layer in items
    ):  # fmt: skip
        return {}
    return {f"{name}.{kind}": inner for name, layer in items for kind, inner in layer.items()}  # pyright: ignore


def _below(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)


def _parts(key: str, tensors: Mapping[str, Tensor], depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """A dict's tensors under our names; then, where its names begin in several ways, those of one beginning alone."""
    tensors = plain_names(tensors)
    if not tensors:
        return
    yield key, our_names(tensors)
    own = {name: tensor for name, tensor in tensors.items() if not AVERAGED.match(name)}
    if 0 < len(own) < len(tensors):
        yield key, our_names(plain_names(own))
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        groups.setdefault(first, {})[rest] = tensor
    for first, group in groups.items():
        if depth < MOST_DEPTH and len(group) > 1 and all("." in rest for rest in group):
            yield from _parts(_below(key, first), group, depth + 1)


def plain_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what wrappers put into them, and without what all of them begin with; counters are left out."""
    parts = {
        name: [part for part in name.split(".") if part not in WRAPPERS]
        for name, tensor in tensors.items()
        if tensor.dim() or name.rpartition(".")[2] not in SCALARS
    }
    shared = 0
    while parts and all(len(levels) > shared + 2 for levels in parts.values()):
        if len({levels[shared] for levels in parts.values()}) > 1:
            break
        shared += 1
    plain = {".".join(levels[shared:]): tensors[name] for name, levels in parts.items()}
    return plain if len(plain) == len(parts) else dict(tensors)


def our_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's names as ours, where all are torchvision's. Others stay as they are."""
    ours = {f"{other}.{kind}": own for own, other in TORCHVISION.items() for kind in ("weight", "bias")}
    if not set(tensors) <= set(ours):
        return dict(tensors)
    return {f"{ours[name]}.{name.rpartition('.')[2]}": tensor for name, tensor in tensors.items()}


def torchvision_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our names as torchvision's."""
    return {
        f"{TORCHVISION[layer]}.{kind}": tensor
        for (layer, kind), tensor in ((name.split("."), tensor) for name, tensor in tensors.items())
    }
