"""Maps against central differences, captum, brute force and cases worked by hand."""

import copy

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam, Saliency
from scipy import stats

from alexnet import load
from alexnet.data.preprocessing import views
from alexnet.evaluation.classifier import Classifier, stacked
from alexnet.evaluation.pictures import square_of
from alexnet.inside.attributions import COPIES, SPREAD, grad_cam, gradient, noisy, smooth_gradient
from alexnet.inside.look import look
from alexnet.inside.occlusion import occlusion
from alexnet.inside.plain import plain
from alexnet.inside.sanity import randomized, rank_correlation

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:captum")


@pytest.fixture
def seen(run, image) -> torch.Tensor:
    """What the net sees of the image."""
    square = square_of(image, run.preprocessing)
    crop = views(stacked([square]), run.preprocessing.crop, 1)[0]
    return run.preprocessing.apply(crop, torch.float32).contiguous()


def error(first: torch.Tensor, second: torch.Tensor) -> float:
    """The largest difference, by the largest value."""
    return float((first - second).detach().abs().max()) / max(1e-30, float(second.detach().abs().max()))


def test_the_gradient_is_that_of_central_differences_of_the_net_in_float64(run, seen):
    exact, images = copy.deepcopy(run.net).double(), seen.double()
    slopes = gradient(plain(run.net, run.preprocessing.crop).double(), images, 1)[0].flatten()
    step, places = 1e-6, torch.randperm(slopes.numel())[:100]
    for place in places.tolist():
        shift = torch.zeros_like(slopes)
        shift[place] = step
        with torch.no_grad():
            up, down = (exact(images + sign * shift.view_as(images))[0, 1] for sign in (1, -1))
        assert float((up - down) / (2 * step)) == pytest.approx(float(slopes[place]), rel=1e-3, abs=1e-8)


def test_every_map_is_captums(run, seen):
    row = plain(run.net, run.preprocessing.crop)
    saliency, speaking = Saliency(row), 0
    for index in range(3):
        assert error(gradient(row, seen, index), saliency.attribute(seen, index, abs=False)) <= 1e-5
        copies = [saliency.attribute(part[None], index, abs=False) for part in noisy(seen, COPIES, SPREAD, 0)]
        assert error(smooth_gradient(row, seen, index), torch.stack(copies).mean(0)) <= 1e-5
        for layer in ("conv2", "pool2"):
            after = row[list(dict(row.named_children())).index("conv2:activation" if layer == "conv2" else layer)]
            theirs = LayerGradCam(row, after).attribute(seen, index, relu_attributions=True)[0, 0]
            assert error(grad_cam(row, layer, seen, index), theirs) <= 1e-5
            speaking += int(theirs.any())
    assert speaking >= 2  # of the others both are 0: nothing speaks for these classes


def test_smoothgrads_noise_is_a_function_of_its_seed_and_has_its_size(seen):
    first, second = noisy(seen, 64, SPREAD, 0), noisy(seen, 64, SPREAD, 0)
    assert torch.equal(first, second) and not torch.equal(first, noisy(seen, 64, SPREAD, 1))
    noise = (first - seen) / (seen.max() - seen.min())
    assert float(noise.std()) == pytest.approx(SPREAD, rel=0.01) and abs(float(noise.mean())) < 0.001


def test_occlusion_is_what_the_net_says_of_each_hidden_image(run, image):
    square = square_of(image, run.preprocessing)
    hidden = occlusion(run, square, 2)
    assert (hidden.window, hidden.step, hidden.starts[:2], hidden.starts[-1]) == (6, 4, [0, 4], 42)  # of 48 pixels
    whole = dict(run(square, top=3).top)["red"]
    assert hidden.probability == pytest.approx(whole, abs=1e-6)
    mean = run.preprocessing.mean_image.numpy().transpose(1, 2, 0)
    for row, column in ((0, 0), (3, 7), (11, 11), (5, 0)):
        covered = square.copy()
        top, left = 8 + hidden.starts[row], 8 + hidden.starts[column]  # 48 of 64 pixels are seen
        covered[top : top + 6, left : left + 6] = mean[top : top + 6, left : left + 6].round()
        loss = whole - dict(run(covered, top=3).top)["red"]
        assert hidden.losses[row, column] == pytest.approx(loss, abs=1e-6)
    assert np.allclose(occlusion(run, square, 2, every=2).losses, hidden.losses[::2, ::2], atol=1e-6)
    painted = hidden.painted(hidden.losses, 48)
    assert painted[1 + 4 * 3, 1 + 4 * 7] == hidden.losses[3, 7] and not painted[0].any()


def test_rank_correlation_is_scipys():
    random = np.random.default_rng(0)
    for first, second in (random.normal(size=(2, 40)), random.integers(0, 4, (2, 40))):
        assert rank_correlation(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
    assert rank_correlation(np.zeros((3, 3)), random.normal(size=(3, 3))) is None


def test_random_weights_are_random_spread_scores_and_are_the_same_each_time(run, seen):
    others = randomized(run.run)
    for name, parameter in others.net.named_parameters():
        weight = parameter.detach()
        if name.endswith("weight"):
            assert float(weight.std()) == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.1)
            assert (
                abs(np.corrcoef(weight.flatten().numpy(), run.net.state()[name].detach().flatten())[0, 1])
                < 4 * weight.numel() ** -0.5
            )
            rows = weight.flatten(1)
            assert len(torch.unique(rows, dim=0)) == len(rows)
        else:
            assert not weight.any()
    with torch.no_grad():
        assert 0.05 < float(others.net(seen / seen.std()).std()) < 20
    assert all(map(torch.equal, others.net.state().values(), randomized(run.run).net.state().values()))


def test_a_map_of_the_trained_net_is_not_that_of_random_weights(run, image):
    seen = look(run, image)
    assert abs(seen.gradient.correlation) < 0.3 and abs(seen.smooth_gradient.correlation) < 0.3
    own = look(Classifier(randomized(run.run)), image)  # a net that is random already: the maps are the same
    assert own.gradient.correlation == pytest.approx(1) and own.grad_cam.correlation == pytest.approx(1)
    assert own.occlusion_map.correlation == pytest.approx(1)


def test_looking_changes_nothing(run_folder, image):
    opened = load(run_folder)
    before = {name: value.clone() for name, value in opened.net.state().items()}
    look(opened, image)
    assert all(torch.equal(value, before[name]) for name, value in opened.net.state().items())
    assert all(parameter.requires_grad for parameter in opened.net.parameters())
