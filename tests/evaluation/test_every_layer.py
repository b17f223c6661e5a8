"""Every layer of every net that is included, before and after its activation function, against plain NumPy in float64.

The net runs in its form for inference, the oracle step by step.
"""

import numpy as np
import pytest
import torch

from alexnet import Classifier, Net
from alexnet.data.preprocessing import Preprocessing
from alexnet.nets.layer_names import canonical
from alexnet.nets.table_file import tables
from alexnet.runs.run import Run
from tests.oracle import nets as oracle

SMALL = {name for name in tables() if name.startswith("cifar")}  # 32 or 24 pixels wide; the others take seconds each


def steps_of(net, x, parameters):
    """The output of each of a net's steps, and whether it is dropout."""
    for name, step in net:
        own = [parameters[f"{name}.{part}"] for part in ("weight", "bias")] if name else []
        masked = getattr(step, "masked", False)
        x = step(x, None)[0] if masked else step(x, *own)[0]
        yield masked, x


def expected(net, x, parameters):
    """By our names: a layer's own step, then its activation function, then dropout."""
    outputs, waiting = {}, list(steps_of(oracle.NETS[net.table.name], x, parameters))
    for name, layer in net.table.layers.items():
        outputs[f"{name}:before"] = outputs[name] = waiting.pop(0)[1]
        if layer.activation:
            outputs[name] = waiting.pop(0)[1]
        while waiting and waiting[0][0]:
            outputs[name] = waiting.pop(0)[1]
    assert not waiting
    return outputs


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in SMALL else pytest.mark.slow) for n in tables()])
def test_every_layer_is_the_oracles(name):
    net = Net(name, 10, seed=3, init="he").eval()
    side = net.table.input[1]
    for parameter in net.parameters():
        if parameter.dim() == 1:  # biases of 0 would hide one that is left out
            parameter.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(parameter)))
    seen = Preprocessing(side, side, 1 / 64, torch.full((3, side, side), 128.0), torch.zeros(3, 3))
    classes = [str(number) for number in range(10)]
    run = Classifier(Run("run", net, classes, classes, seen, {}, {}, 0), precision="float32")
    images = torch.randint(0, 256, (2, side, side, 3), generator=torch.Generator().manual_seed(0)).byte()
    x = (images.permute(0, 3, 1, 2).double().numpy() - 128) / 64
    right = expected(net, x, {key: value.detach().double().numpy() for key, value in net.tensors().items()})
    layers = canonical(net.table, list(right))
    found = run.activations(images.permute(0, 3, 1, 2), layers)
    alone = {layer: run.activations(images.permute(0, 3, 1, 2), [layer])[layer] for layer in layers[::3]}
    assert {layer.partition(":")[0] for layer in layers} == set(net.table.layers)
    for layer, outputs in [*found.items(), *alone.items()]:
        values, difference = right[layer], np.abs(outputs.double().numpy() - right[layer]).max()
        assert outputs.shape == values.shape and difference <= 1e-5 * np.abs(values).max(), (layer, difference)
        if layer.endswith(":before"):
            assert outputs.min() < 0
        elif net.table.layers[layer].activation == "relu":
            assert outputs.min() >= 0
