"""Whether torch makes a graph of what is being computed (torch.compile, torch.export, torch.jit.trace)."""

import torch


def followed() -> bool:
    """True while a graph is made: it cannot look into C, nor into work that goes block by block into one buffer."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
