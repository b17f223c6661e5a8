"""Filters as in Figure 3: each tower's in a block of its own, where it says, as its weights are."""

import itertools

import numpy as np
import pytest
from matplotlib.text import Text

from alexnet import Net
from alexnet.figures.filters import filters
from tests.figures.drawn import ODD, check_inside


@pytest.fixture(params=[1, 2, 4])
def net(request, net_file, tmp_path):
    text = open(net_file, encoding="utf-8").read().replace("towers = 2", f"towers = {request.param}")
    path = tmp_path / "net.toml"
    path.write_text(text, encoding="utf-8")
    return Net(str(path), 3)


def test_each_tower_has_its_filters_in_a_block(net):
    figure = filters(net)
    check_inside(figure)
    towers = net.table.towers
    assert len(figure.axes) == towers
    weights = net.conv1.weight.detach().numpy()
    for tower, axes in enumerate(figure.axes):
        sheet = np.asarray(axes.images[0].get_array())
        own = weights[tower * 16 // towers : (tower + 1) * 16 // towers]
        columns = (sheet.shape[1] + 1) // 6
        for index, weight in enumerate(own):
            top, left = index // columns * 6, index % columns * 6
            tile = sheet[top : top + 5, left : left + 5].transpose(2, 0, 1)
            assert tile == pytest.approx(0.5 + weight / (2 * np.abs(weight).max()), abs=1e-6)
    heights = [(axes.get_position().y0, axes.get_position().y1) for axes in figure.axes]
    assert all(above[0] > below[1] for above, below in itertools.pairwise(heights))  # towers are apart


def test_towers_are_named_between_the_blocks_and_the_scale_is_said(net):
    figure = filters(net)
    texts = {text.get_text(): text.get_position()[1] for text in figure.findobj(Text) if text.get_text()}
    named = [texts[f"tower {i + 1} (GPU {i + 1})"] for i in range(net.table.towers)] if net.table.towers > 1 else []
    assert any("scaled by its own largest weight" in text for text in texts)
    assert sum("tower" in text for text in texts) == len(named)
    for axes, y in zip(figure.axes, named):
        assert y > axes.get_position().y1
    for axes, y in zip(figure.axes, named[1:]):
        assert y < axes.get_position().y0


@pytest.mark.parametrize("name", ODD)
def test_any_title_fits(net_file, name):
    check_inside(filters(Net(net_file, 3), name * 3))
