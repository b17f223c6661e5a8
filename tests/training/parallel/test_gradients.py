"""What goes to the collectives: in one piece, whatever the order of its dimensions in memory, and back in its place."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from alexnet import Net
from alexnet.training.parallel import gradients, spread


@pytest.fixture
def seen(monkeypatch) -> list[torch.Tensor]:
    """Tensors that were handed to a collective; each is doubled, as by two ranks with the same."""
    handed: list[torch.Tensor] = []

    def collective(tensor: torch.Tensor, *args: Any, **options: Any) -> None:
        assert tensor.is_contiguous()  # NCCL's own condition, but for channels-last in four dimensions
        handed.append(tensor)
        tensor.mul_(2)

    for name in ("all_reduce", "broadcast"):
        monkeypatch.setattr(torch.distributed, name, collective)
    return handed


def test_gradients_and_weights_of_locally_connected_layers_go_in_one_piece(seen):
    net = Net.empty("cifar-11", 10)
    net.initialize(0)
    tensors = net.tensors()
    sums = gradients.GradientSums(tensors, group=SimpleNamespace())  # pyright: ignore[reportArgumentType]
    sums.start()
    loss = sum((tensor * tensor).sum() for tensor in tensors.values())
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    sums.wait()
    assert seen and not tensors["local3.weight"].is_contiguous()
    for tensor in tensors.values():
        assert tensor.grad is not None
        torch.testing.assert_close(tensor.grad, 4 * tensor.detach())


def test_what_is_read_is_sent_in_one_piece(seen):
    net = Net.empty("cifar-11", 10)
    net.initialize(0)
    own, whole = {name: torch.empty_like(tensor) for name, tensor in net.tensors().items()}, net.tensors()
    division: Any = SimpleNamespace(own=lambda name, tensor: tensor)
    spread._send(division, own, dict(whole))
    assert len(seen) == len(own)
    for name, tensor in own.items():
        torch.testing.assert_close(tensor, 2 * whole[name].detach())
