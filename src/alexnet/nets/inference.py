"""A net's form for use: what depends on the weights alone is done once."""

import torch

from alexnet import machine
from alexnet.nets.network import Network
from alexnet.nets.precision import check_precision, product_dtype


def ready(net: Network, precision: str, device: torch.device) -> tuple[Network, str]:
    """A net's form for inference, and the precision of its products.

    Args:
        net: on the device.
        precision: ``auto``, ``float32``, ``bf16``, ``fp16``, ``float64``; or ``int8``, with which the weights of the
            fully connected layers are rounded to int8 and all else is as with ``auto``.
        device: where the net is.

    Raises:
        WrongUse: no such precision.
    """
    check_precision(precision)
    products = machine.choose_precision("auto" if precision == "int8" else precision, device)
    return net.for_inference(product_dtype(products), narrow=precision == "int8"), products
