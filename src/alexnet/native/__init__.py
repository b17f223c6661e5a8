"""The compiled path on a CPU: C, built once by the compiler that is there, and the one door to it.

No compiler, no Linux, a compiler that fails: the portable path runs instead, and ``status`` says why. The library
shares torch's own OpenMP threads, so that two pools never compete for the cores. A caller asks ``available`` and then
calls a function, which checks all that it is given before the C sees an address.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from alexnet.native.window import Window

if TYPE_CHECKING:  # the others need torch, which whoever only reads a net's table or a dataset's labels does not
    from alexnet.native.functions import (
        add_image,
        area_average,
        crop_image,
        crop_images,
        image_products,
        momentum_step,
        prepare_images,
    )
    from alexnet.native.layers import (
        BETA,
        MOST_WINDOW,
        Stage,
        few_rows,
        stage_backward,
        stage_forward,
        windows_gather,
        windows_scatter,
        within_map_norm_backward,
        within_map_norm_forward,
    )
    from alexnet.native.library import Status, available, keep_freed_memory, kernels, portable, status

__all__ = [
    "BETA",
    "MOST_WINDOW",
    "Stage",
    "Status",
    "Window",
    "add_image",
    "area_average",
    "available",
    "crop_image",
    "crop_images",
    "few_rows",
    "image_products",
    "keep_freed_memory",
    "kernels",
    "momentum_step",
    "portable",
    "prepare_images",
    "stage_backward",
    "stage_forward",
    "status",
    "windows_gather",
    "windows_scatter",
    "within_map_norm_backward",
    "within_map_norm_forward",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        for room in ("library", "layers", "functions"):
            module = import_module(f"alexnet.native.{room}")
            if hasattr(module, name):
                return globals().setdefault(name, getattr(module, name))
    raise AttributeError(f"module 'alexnet.native' has no attribute {name!r}")
