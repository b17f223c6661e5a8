"""A net's form for use: what depends on the weights alone is done once."""

import copy

import torch

from alexnet import machine
from alexnet.nets.layers import FullyConnected, Int8FullyConnected
from alexnet.nets.network import Network
from alexnet.nets.precision import Products, check_precision, product_dtype


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


def ready(net: Network, precision: str, device: torch.device) -> tuple[Network, str]:
    """A net's form for inference, and the precision of its products.

    Args:
        net: on the device.
        precision: ``auto``, ``float32``, ``bf16``, ``fp16``, ``float64``; or ``int8``, with which the weights of the
            fully connected layers are rounded to int8 and all else is as with ``auto``.
        device: where the net is.

    Raises:
        UsageError: no such precision.
    """
    check_precision(precision)
    products = machine.choose_precision("auto" if precision == "int8" else precision, device)
    return for_inference(net, product_dtype(products), int8=precision == "int8"), products
