"""Bytes and steps of layouts, held against numbers worked out by hand and against published scalings."""

import pytest
from benchmarks import scaling

from alexnet.nets.costs import multiply_adds
from alexnet.nets.table_file import load_table
from alexnet.training.parallel import choice
from alexnet.training.parallel.choice import candidates, shortest
from alexnet.training.parallel.costs import Passes, bytes_sent, exchanges, own_share
from alexnet.training.parallel.layout import Layout
from alexnet.training.parallel.link import Link
from alexnet.training.parallel.model import operations, predict

ALL, CONVOLUTIONS = 60_965_224, 2_334_080  # the paper's parameters: ../shared/facts/parallel.md, A1
CONNECTED = 9216 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000


def sent(layout: Layout, images: float, precision: str = "float32", **options) -> float:
    return bytes_sent(load_table("paper"), 1000, layout, images, precision, **options)


def test_the_papers_numbers_add_up():
    assert CONVOLUTIONS + CONNECTED == ALL


@pytest.mark.parametrize(("ranks", "share"), [(2, 1.0), (4, 1.5), (8, 1.75)])
def test_data_sends_each_parameter_around_a_ring(ranks, share):
    assert sent(Layout("data", ranks), 16) == pytest.approx(4 * ALL * share)
    assert sent(Layout("data", ranks), 128) == sent(Layout("data", ranks), 16)  # whatever the batch


def test_towers_send_maps_where_the_paper_says():
    # conv3 sees half of 256 maps of 13x13, fc6 half of 256 of 6x6, fc7 and fc8 half of 4096 units
    numbers = 128 * 13 * 13 + 128 * 6 * 6 + 2048 + 2048
    assert numbers == 30_336
    assert sent(Layout("towers", 1, 2), 32) == 4 * 32 * (2 * numbers + 500)  # scores go forward only
    names = [part.layer for part in exchanges(load_table("paper"), 1000, Layout("towers", 1, 2), 1)]
    assert names == ["conv3", "fc6", "fc7", "fc8", "scores", "fc8", "fc7", "fc6", "conv3"]
    # two of each tower: sums of half the parameters beside it
    assert sent(Layout("towers", 2, 2), 32) == 4 * 32 * (2 * numbers + 500) + 4 * ALL / 2


def test_towers_break_even_with_data_at_a_batch_of_1005():
    each = 4 * 2 * 30_336  # of an image, as the facts count: without scores
    assert 4 * ALL / each == pytest.approx(1005, abs=0.5)
    assert sent(Layout("towers", 1, 2), 990) < sent(Layout("data", 2), 495)
    assert sent(Layout("towers", 1, 2), 1005) > sent(Layout("data", 2), 502.5)


@pytest.mark.parametrize(("ranks", "images", "megabytes"), [(2, 64, 18), (4, 128, 67), (8, 128, 141), (64, 128, 1141)])
def test_hybrid_sends_activations_for_parameters(ranks, images, megabytes):
    found = sent(Layout("hybrid", ranks, ranks), images)
    sums = 4 * CONVOLUTIONS * 2 * (ranks - 1) / ranks
    units = 4 * images * (ranks - 1) * 2 * (9216 + 4096 + 4096)  # forward and backward
    scores = 4 * images * 2 * 1000 * (ranks - 1) / ranks
    assert found == pytest.approx(sums + units + scores, rel=2e-5)  # of 1,000 classes the first of 64 ranks has 16
    assert found / 1e6 == pytest.approx(megabytes, rel=0.03)


def test_hybrid_loses_from_27_ranks_on():
    wins = [n for n in range(2, 65) if sent(Layout("hybrid", n, n), 128) < sent(Layout("data", n), 128)]
    assert wins == list(range(2, 27))


def test_sharded_moves_weights_once_and_their_gradients():
    sums = 4 * CONVOLUTIONS * 1.0
    assert sent(Layout("sharded", 2), 64) == pytest.approx(sums + 4 * CONNECTED * (0.5 + 1.0))  # gloo's reduce_scatter
    assert sent(Layout("sharded", 2), 64, backend="nccl") == pytest.approx(sums + 4 * CONNECTED * (0.5 + 0.5))


def test_bf16_halves_what_lies_in_it():
    biases = 4096 + 4096 + 1000 + 96 + 256 + 384 + 384 + 256
    assert sent(Layout("data", 2), 8, "bf16") == 2 * (ALL - biases) + 4 * biases
    assert sent(Layout("towers", 1, 2), 8, "bf16") * 2 == sent(Layout("towers", 1, 2), 8)
    assert sent(Layout("data", 2), 8, "fp16") == 4 * ALL  # autocast: gradients are those of float32 weights


FROZEN = Passes("conv4")  # conv1 to conv3 learn nothing
FROM_CONV4 = ALL - 96 * 364 - 256 * 1201 - 384 * 2305  # parameters: weights and a bias of each map


def test_frozen_layers_have_no_gradients_to_sum():
    assert sent(Layout("data", 2), 16, passes=FROZEN) == 4 * FROM_CONV4
    assert sent(Layout("sharded", 2), 64, passes=Passes("fc7")) == 4 * (CONNECTED - 9216 * 4096 - 4096) * 1.5
    assert sent(Layout("hybrid", 2, 2), 64, passes=FROZEN) == pytest.approx(
        sent(Layout("hybrid", 2, 2), 64) - 4 * (ALL - FROM_CONV4)
    )
    assert own_share(load_table("paper"), 1000, Layout("data", 4), FROZEN) == FROM_CONV4 / ALL


def test_maps_of_frozen_layers_go_forward_alone_and_those_that_were_computed_not_at_all():
    table, towers = load_table("paper"), Layout("towers", 1, 2)

    def layers(passes: Passes, layout: Layout = towers) -> list[str]:
        return [part.layer for part in exchanges(table, 1000, layout, 1, passes=passes) if part.kind == "maps"]

    assert layers(FROZEN) == ["conv3", "fc6", "fc7", "fc8", "scores", "fc8", "fc7", "fc6"]
    assert layers(Passes("conv4", computed=True)) == ["fc6", "fc7", "fc8", "scores", "fc8", "fc7", "fc6"]
    assert layers(Passes("fc7")) == ["conv3", "fc6", "fc7", "fc8", "scores", "fc8"]  # fc7 sees what needs no gradient
    assert layers(Passes("fc7", computed=True)) == ["fc7", "fc8", "scores", "fc8"]
    # hybrid's ranks would have each other's images behind fc6, so its frozen part ends before it
    hybrid = Layout("hybrid", 2, 2)
    computed = layers(Passes("fc7", computed=True), hybrid)
    assert computed == ["fc6", "fc7", "fc8", "scores", "scores", "fc8", "fc7"]
    assert layers(Passes("fc7"), hybrid) == computed
    numbers = 128 * 6 * 6 + 2048 + 2048  # each way but conv3's
    assert sent(towers, 32, passes=FROZEN) == 4 * 32 * (2 * numbers + 128 * 13 * 13 + 500)


def test_with_accumulation_maps_go_in_parts_and_gradients_once():
    table, parts = load_table("paper"), Passes(parts=4)
    for layout in (Layout("data", 2), Layout("towers", 2, 2), Layout("hybrid", 2, 2)):
        assert sent(layout, 32, passes=parts) == sent(layout, 32)
        several, one = (exchanges(table, 1000, layout, 32, passes=passes) for passes in (parts, Passes()))
        factors = {"maps": 4, "gradients": 1}
        assert [part.rounds for part in several] == [factors[part.kind] * part.rounds for part in one]
    assert sent(Layout("data", 2), 8, "bf16", passes=parts) == 4 * ALL  # parts' gradients add up in float32
    sums = 4 * CONVOLUTIONS
    assert sent(Layout("sharded", 2), 64, passes=parts) == pytest.approx(sums + 4 * 4 * CONNECTED * 1.5)


def test_gradients_are_hidden_behind_the_last_part_and_the_layers_that_learn():
    table, slow, data = load_table("paper"), Link(0.0, 125e6), Layout("data", 2)
    sums = 4 * ALL / 125e6  # 1.95 s
    parts = predict(table, 1000, data, 128, 6.0, slow, passes=Passes(parts=12))
    assert 6.0 + sums - 0.34 < parts.seconds < 6.0 + sums  # a twelfth of 4 s of backward pass hides what it can
    last = predict(table, 1000, data, 128, 6.0, slow, passes=Passes("fc8", computed=True))
    assert last.exposed + last.compute == pytest.approx(
        6.0 + 4 * (4096 * 1000 + 1000) / 125e6
    )  # nothing comes after it
    assert operations(table, 1000, Passes("fc8", computed=True))[-1].forward == 4096 * 1000
    assert sum(row.forward + row.backward for row in operations(table, 1000, Passes("fc8", computed=True))) == 8192000
    whole = sum(row.forward + row.backward for row in operations(table, 1000))
    assert whole == multiply_adds(table, 1000)[1]
    frozen = operations(table, 1000, FROZEN)
    assert [row.name for row in frozen if row.backward] == ["conv4", "conv5", "fc6", "fc7", "fc8"]
    assert sum(row.forward for row in frozen) == multiply_adds(table, 1000)[0]


def test_auto_follows_what_learns():
    """Of the last layer alone data has 16 MB to sum in place of 244; towers then have 62 MB of maps in place of 125."""
    table, slow = load_table("paper"), Link(1e-4, 0.94 * 125e6)
    allowed = candidates(2, table, 1000, 512)[:2]
    assert shortest(allowed, table, 1000, 512, 0.5, slow).name == "towers"
    assert shortest(allowed, table, 1000, 512, 0.5, slow, passes=Passes("fc8")).name == "data"
    assert shortest(allowed, table, 1000, 512, 0.5, slow, passes=Passes("fc8", computed=True)).name == "towers"
    late = Link(0.02, 1e10)  # 20 ms a message: maps of 16 parts wait for each
    assert shortest(allowed, table, 1000, 512, 4.0, late, passes=Passes(parts=16)).name == "data"


def test_a_training_that_goes_on_keeps_its_layout(small_run):
    class Begun:
        folder = small_run

    assert choice._begun_as(Begun()) == "one process"  # pyright: ignore[reportArgumentType]


def test_a_step_is_what_is_computed_and_what_is_waited_for():
    table, slow, fast = load_table("paper"), Link(0.0, 125e6), Link(0.0, 1e15)
    towers = predict(table, 1000, Layout("towers", 1, 2), 128, 6.0, slow)
    assert towers.seconds == pytest.approx(6.0 + 128 * 4 * (2 * 30_336 + 500) / 125e6)  # nothing hidden
    assert predict(table, 1000, Layout("data", 2), 128, 6.0, fast).seconds == pytest.approx(6.0, rel=1e-3)
    hidden = predict(table, 1000, Layout("data", 2), 128, 6.0, slow)
    assert 6.0 < hidden.seconds < 6.05 and hidden.hidden > 0.97  # 1.95 s of sums behind 4 s of backward pass
    bare = predict(table, 1000, Layout("data", 2), 128, 6.0, slow, overlap=False)
    assert bare.seconds == pytest.approx(6.0 + 4 * ALL / 125e6)
    starved = predict(table, 1000, Layout("data", 2), 128, 0.1, slow)
    assert starved.seconds == pytest.approx(0.1 + 4 * ALL / 125e6, rel=0.05)
    late = predict(table, 1000, Layout("towers", 1, 2), 1, 0.0, Link(0.01, 1e15)).seconds
    assert late == pytest.approx(0.01 * (9 + 2 * 2), rel=1e-3)  # nine exchanges, two small sums of two messages


def test_parameters_cost_a_rank_what_it_has_of_them():
    table, fast = load_table("paper"), Link(0.0, 1e15)
    towers = Layout("towers", 1, 2)
    assert own_share(table, 1000, Layout("data", 4)) == 1 and own_share(table, 1000, towers) == pytest.approx(0.5)
    connected = ALL - sum((96 * 364, 256 * 1201, 384 * 2305, 384 * 1729, 256 * 1729))  # fc6, fc7, fc8
    for layout in (Layout("hybrid", 2, 2), Layout("sharded", 2)):
        assert own_share(table, 1000, layout) == pytest.approx(1 - connected / ALL / 2, rel=1e-6)
    assert predict(table, 1000, towers, 128, 6.0, fast, update=1.0).seconds == pytest.approx(6.5, rel=1e-3)
    assert predict(table, 1000, Layout("data", 1), 128, 6.0, fast, update=1.0).seconds == 7


@pytest.mark.parametrize("case", scaling.CASES, ids=lambda case: case.name)
def test_published_scalings_are_met_within_15_percent(case):
    assert scaling.speedup(case) == pytest.approx(case.published, rel=0.15)


def chosen(link: Link, ranks: int, batch: int, compute: float, net: str = "paper", classes: int = 1000) -> str:
    table = load_table(net)
    return shortest(candidates(ranks, table, classes, batch), table, classes, batch, compute, link).name


def test_auto_takes_data_unless_the_link_is_slow():
    fast, slow = Link(1e-4, 1e10), Link(1e-4, 0.94 * 125e6)
    assert chosen(fast, 2, 128, 6.0) == "data"
    assert chosen(slow, 2, 32, 0.5) != "data"  # 2.07 s of sums behind half a second of computing
    assert chosen(slow, 2, 4096, 100.0) == "data"  # hidden
    assert chosen(slow, 64, 64 * 128, 1.0, "torchvision") == "data"  # beyond 26 ranks hybrid sends more
    assert chosen(slow, 8, 8 * 16, 0.5, "torchvision") == "hybrid"  # of one tower


def test_auto_says_why_and_what_is_allowed():
    table = load_table("paper")
    assert [layout.name for layout in candidates(4, table, 1000, 128)] == ["data", "towers", "hybrid"]
    assert [layout.name for layout in candidates(3, table, 1000, 128)] == ["data", "hybrid"]
    assert [layout.name for layout in candidates(4, table, 1000, 3)] == ["towers"]  # two parts of each batch suffice
    layout = shortest(candidates(2, table, 1000, 32), table, 1000, 32, 0.5, Link(1e-4, 0.94 * 125e6))
    assert "0.1 ms, 0.94 Gbit/s" in layout.why and "data 2." in layout.why
