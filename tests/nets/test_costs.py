"""Receptive fields: a unit's gradient is nonzero exactly on the pixels that ``costs`` says it can depend on."""

import pytest
import torch

from alexnet import Net
from alexnet.nets.costs import costs
from alexnet.nets.table_file import load_table


def test_the_papers_receptive_fields():
    fields = {row.name: row.receptive_field for row in costs(load_table("paper"), 1000)}
    assert (fields["conv1"].size, fields["conv1"].step, fields["conv1"].offset) == (11, 4, 0)
    assert (fields["pool5"].size, fields["pool5"].step) == (195, 32)
    assert [fields[f"conv{n}"].size for n in (2, 3, 4, 5)] == [51, 99, 131, 163]
    assert fields["fc6"] is None


@pytest.mark.parametrize(
    "name",
    [
        "torchvision",
        "cifar-11",
        "cifar-18",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("paper", "source")),
    ],
)
def test_a_units_gradient_is_nonzero_exactly_inside(name):
    """Weights of one sign and smooth activations, so that no path cancels and no unit is dead; pools as averages."""
    table = load_table(name)
    net = Net(table, 2, init="he").double().eval()
    generator = torch.Generator().manual_seed(0)
    for tensor in net.tensors().values():
        tensor.data.abs_().add_(1e-3)
    for name, module in list(net.named_children()):
        if isinstance(module, torch.nn.MaxPool2d):  # whose gradient is that of one pixel alone
            average = torch.nn.AvgPool2d(module.kernel_size, module.stride, ceil_mode=True, count_include_pad=False)
            net.add_module(name, average)
    side = table.input[1]
    images = torch.rand(1, 3, side, side, dtype=torch.float64, generator=generator)
    for row in costs(table, 2):
        if row.receptive_field is None:
            continue
        height, width = row.output[1:]
        for unit in {(0, 0), (height // 2, width // 3), (height - 1, width - 1)}:
            seen = images.clone().requires_grad_()
            with torch.enable_grad():
                maps = portable_activations(net, seen, row.name)
                maps[0, :, unit[0], unit[1]].sum().backward()
            touched = seen.grad[0].abs().sum(0) > 0
            expected = torch.zeros(side, side, dtype=torch.bool)
            rows, columns = (row.receptive_field.pixels(index, side) for index in unit)
            expected[rows.start : rows.stop, columns.start : columns.stop] = True
            assert torch.equal(touched, expected), (row.name, unit)


def portable_activations(net: Net, images: torch.Tensor, name: str) -> torch.Tensor:
    """A layer's outputs, each layer by its own module: the compiled stages would pool as the table says."""
    x = images
    for layer in net.names:
        x = getattr(net, layer)(x)
        if layer == name:
            return x
    raise AssertionError(name)
