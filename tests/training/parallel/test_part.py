"""The plan of a net's parts, without processes: held against the paper's section 3.5 and its figure 2, by hand."""

import itertools

import pytest
import torch

from alexnet.data.batches import Batch, Share
from alexnet.errors import UsageError
from alexnet.nets.layers import Draw, Dropout
from alexnet.nets.table_file import load_table
from alexnet.training.parallel.layout import choose_layout
from alexnet.training.parallel.part import Part, hybrid_plan, part_sizes, towers_plan

# by hand, of one tower of figure 2: weights here, what comes before, maps or units that it makes
TOWER = {
    "conv1": ((48, 3, 11, 11), None, 48),
    "conv2": ((128, 48, 5, 5), None, 128),
    "conv3": ((192, 256, 3, 3), "maps", 192),
    "conv4": ((192, 192, 3, 3), None, 192),
    "conv5": ((128, 192, 3, 3), None, 128),
    "fc6": ((2048, 9216), "maps", 2048),
    "fc7": ((2048, 4096), "maps", 2048),
    "fc8": ((500, 4096), "maps", 500),
}


def part_of(places, index, name="paper", classes=1000):
    """A part's shapes; nobody is spoken to."""
    return Part(load_table(name), classes, places, index, None)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("index", [0, 1])
def test_a_tower_is_the_papers(index):
    places = {place.name: place for place in towers_plan(load_table("paper"), 1000, index)}
    net = part_of(list(places.values()), index)
    for name, (shape, before, made) in TOWER.items():
        assert tuple(net.get_parameter(f"{name}.weight").shape) == shape
        assert tuple(net.get_parameter(f"{name}.bias").shape) == shape[:1]
        assert (places[name].before, places[name].row.made[0]) == (before, made)
        assert places[name].sizes == (made, made)
    assert [name for name, place in places.items() if place.before] == ["conv3", "fc6", "fc7", "fc8"]
    assert sum(parameter.numel() for parameter in net.parameters()) * 2 == 60_965_224


def test_what_an_image_costs_is_30336_numbers_each_way():
    """conv3's other half of pool2, fc6's of pool5, fc7's of fc6, fc8's of fc7: 128x13x13 + 128x6x6 + 2 x 2048."""
    places = towers_plan(load_table("paper"), 1000, 0)
    seen = {place.name: before.row.made for before, place in itertools.pairwise(places) if place.before}
    assert sum(torch.Size(shape).numel() for shape in seen.values()) == 30_336


def test_norms_across_towers_are_whole_at_each_rank_and_the_next_layer_takes_its_own():
    places = {place.name: place for place in towers_plan(load_table("caffe"), 1000, 1)}
    assert (places["norm1"].before, places["norm1"].sizes, places["norm1"].row.made[0]) == ("maps", None, 96)
    assert (places["pool1"].before, places["pool1"].row.made[0], places["conv2"].row.made[0]) == ("own", 48, 128)


@pytest.mark.parametrize(
    ("parts", "index", "units", "classes"), [(2, 1, 2048, 500), (4, 3, 1024, 250), (3, 0, 1366, 334)]
)
def test_hybrid_divides_fully_connected_layers_alone(parts, index, units, classes):
    places = {place.name: place for place in hybrid_plan(load_table("paper"), 1000, parts, index)}
    net = part_of(list(places.values()), index)
    assert tuple(net.get_parameter("conv2.weight").shape) == (256, 48, 5, 5)
    assert tuple(net.get_parameter("fc6.weight").shape) == (units, 9216)
    assert tuple(net.get_parameter("fc7.weight").shape) == (units, 4096)
    assert tuple(net.get_parameter("fc8.weight").shape) == (classes, 4096)
    assert {name: place.before for name, place in places.items() if place.before} == {
        "fc6": "examples",
        "fc7": "maps",
        "fc8": "maps",
    }


@pytest.mark.parametrize(("count", "parts", "sizes"), [(5, 2, (3, 2)), (7, 4, (2, 2, 2, 1)), (2, 4, (1, 1, 0, 0))])
def test_parts_differ_by_one_at_most(count, parts, sizes):
    assert part_sizes(count, parts) == sizes


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_shares_are_the_whole_batch_in_order(count):
    rows = torch.arange(11) * 3
    batch = Batch(torch.arange(11), rows % 5, rows)
    cuts = [Share(index, count).cut(batch) for index in range(count)]
    for what in ("images", "labels", "rows"):
        assert torch.equal(torch.cat([getattr(cut, what) for cut in cuts]), getattr(batch, what))
    assert {len(cut.rows) for cut in cuts} <= {11 // count, -(-11 // count)}
    assert all(cut.total == (11 if count > 1 else 0) for cut in cuts)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("shape", [(10,), (6, 3, 2)])
def test_masks_of_parts_are_slices_of_the_whole_mask(inverted, shape):
    x = torch.ones(4, *shape)
    draw = Draw(7, 3, torch.tensor([5, 900, 2, 77]))
    whole = Dropout(0.5, "fc6", inverted)(x, draw)
    assert 0 < (whole == 0).sum() < whole.numel()
    area, first = x[0, 0].numel(), 0
    for size in part_sizes(shape[0], 4):
        part = Dropout(0.5, "fc6", inverted, (first * area, x[0].numel()))(x[:, first : first + size], draw)
        assert torch.equal(part, whole[:, first : first + size])
        first += size


@pytest.mark.parametrize(("layout", "name", "ranks", "batch", "words"), [
    ("towers", "one-gpu", 2, 128, "has one tower"),
    ("towers", "paper", 3, 128, "has 2 towers, which 3 ranks cannot share"),
    ("towers", "paper", 1, 128, "needs two processes or more"),
    ("data", "paper", 4, 3, "smallest batch has 3 images"),
])  # fmt: skip
def test_what_cannot_be_divided_is_refused(layout, name, ranks, batch, words):
    with pytest.raises(UsageError, match=words):
        choose_layout(layout, ranks, load_table(name), 10, batch)
