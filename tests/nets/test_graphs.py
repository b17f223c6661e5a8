"""What torch makes of a net: torch.export, torch.compile, torch.jit.trace give our answers; fx refuses in words."""

import pytest
import torch

from alexnet import Net, UsageError

pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::UserWarning")


@pytest.fixture(
    scope="module", params=[*(pytest.param(name, marks=pytest.mark.slow) for name in ("paper", "cifar-11")), "source"]
)
def case(request):
    net = Net(request.param, 10, seed=2, init="he").double().eval()
    side = net.table.input[1]
    images = torch.randn(2, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return net, images, net(images)


def close(scores: torch.Tensor, expected: torch.Tensor) -> None:
    assert float((scores - expected).abs().max() / expected.abs().max()) < 1e-5


def test_export_gives_a_program_with_our_scores(case):
    net, images, expected = case
    close(torch.export.export(net, (images,)).module()(images), expected)


def test_a_traced_net_gives_our_scores(case):
    net, images, expected = case
    with torch.no_grad():
        close(torch.jit.trace(net, images)(images), expected)


def test_a_compiled_net_gives_our_scores_and_gradients(case):
    net, images, expected = case
    compiled = torch.compile(net, backend="aot_eager")
    close(compiled(images), expected)
    for way in (net, compiled):
        net.zero_grad()
        way(images).square().sum().backward()
        if way is net:
            own = net.tensors()[f"{net.names[0]}.weight"].grad.clone()
    close(net.tensors()[f"{net.names[0]}.weight"].grad, own)


def test_symbolic_tracing_is_refused_in_words(case):
    with pytest.raises(UsageError, match=r"torch.export.export can"):
        torch.fx.symbolic_trace(case[0])
