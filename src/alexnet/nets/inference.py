"""A net's form for use: what depends on the weights alone is done once."""

import copy

import torch

from alexnet import machine
from alexnet.nets.layers import FullyConnected, Int8FullyConnected
from alexnet.nets.network import Network
from alexnet.nets.precision import Products


def for_inference(net: Network, dtype: torch.dtype, int8: bool = False) -> Network:
    """A copy in evaluation mode that does at each call only what depends on the images.

    The weights of products are of their type already, and dropout's factor at test (paper 4.2) is in the weights
    of the layer that comes next, where there is one.

    Args:
        net: any.
        dtype: of the products.
        int8: keeps the fully connected layers' weights in int8.
    """
    ready = copy.deepcopy(net).eval()
    ready.fold_dropout()
    for name, layer in list(ready.named_children()):
        if int8 and isinstance(layer, FullyConnected):
            ready.add_module(name, Int8FullyConnected(layer))
        elif isinstance(layer, Products):
            layer.drop_copy()
            layer.to(dtype)
    return ready


def products_of(precision: str, device: torch.device) -> str:
    """The precision of the products on a device: with ``int8``, which is of weights alone, that of ``auto``.

    Raises:
        UsageError: no such precision, or the device has none.
    """
    return machine.choose_precision("auto" if precision == "int8" else precision, device)
