"""Types of products and of what goes into a net: autocast, and copies of weights in the products' own type."""

import torch

from alexnet.errors import WrongUse
from alexnet.files import nearest

PRECISIONS = ("auto", "float32", "bf16", "fp16", "float64", "int8")


def check_precision(precision: str) -> None:
    """Raises ``WrongUse`` where there is no precision of that name."""
    if precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise WrongUse(f"precision {precision!r}: unknown; {nearest(str(precision), PRECISIONS)}give one of {known}")


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Products in ``bf16`` or ``fp16``, the rest as it is; nothing with other precisions."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision in ("bf16", "fp16"))


def product_dtype(precision: str) -> torch.dtype:
    """The type that products are of."""
    return torch.float16 if precision == "fp16" else input_dtype(precision)


def input_dtype(precision: str) -> torch.dtype:
    """The type in which images reach the net."""
    return {"bf16": torch.bfloat16, "float64": torch.float64}.get(precision, torch.float32)
