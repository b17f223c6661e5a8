"""Types of products and of what goes into a net: autocast, and copies of weights in the products' own type."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from alexnet import machine
from alexnet.errors import UsageError
from alexnet.files import nearest

PRECISIONS = (*machine.PRECISIONS, "int8")  # of a net in use


def check_precision(precision: str) -> None:
    """Raises ``UsageError`` where there is no precision of that name."""
    if precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise UsageError(f"precision {precision!r}: unknown; {nearest(str(precision), PRECISIONS)}give one of {known}")


@contextlib.contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """Products in ``bf16`` or ``fp16``, the rest as it is, by kernels that repeat themselves bit by bit."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    with machine.repeatable(device), torch.autocast(device.type, dtype, enabled=precision in ("bf16", "fp16")):
        yield


def product_dtype(precision: str) -> torch.dtype:
    """The type that products are of."""
    return torch.float16 if precision == "fp16" else input_dtype(precision)


def input_dtype(precision: str) -> torch.dtype:
    """The type in which images reach the net."""
    return {"bf16": torch.bfloat16, "float64": torch.float64}.get(precision, torch.float32)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The type that products are cast to, or None."""
    kind = device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return None


class Products(nn.Module):
    """A layer whose weights are factors of products, and may have a copy in the products' own type."""

    weight: Tensor

    def __init__(self, *arguments: object, **options: object):
        super().__init__(*arguments, **options)
        self._copy: Tensor | None = None

    def operand(self) -> Tensor:
        """What a product takes: the copy of the weights, where one is kept and its type is asked for."""
        copy = self._copy
        return self.weight if copy is None or copy.dtype != autocast_dtype(copy.device) else copy

    def keep_copy(self, dtype: torch.dtype) -> Tensor:
        """Keeps a copy of the weights, to which the gradients come; whoever changes the weights changes it, too."""
        self._copy = self.weight.detach().to(dtype).requires_grad_()
        return self._copy

    def drop_copy(self) -> None:
        """Forgets the copy."""
        self._copy = None


def keep_copies(net: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Gives each product of a net a copy of its weights in its own type, in place of autocast's at each step.

    Args:
        net: whose layers are asked.
        dtype: of the products under autocast.

    Returns:
        The copies, by the weights' names.
    """
    return {f"{name}.weight": layer.keep_copy(dtype) for name, layer in net.named_children()
            if isinstance(layer, Products)}  # fmt: skip
