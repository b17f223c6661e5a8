"""The contract of randomness: known answers, and that nothing but the key matters."""

import numpy as np
import pytest
import torch

from alexnet import randomness


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # the known-answer tests of Random123 1.09, philox4x32 10
        ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_known_answers(counter, key, expected):
    lanes = randomness.philox(tuple(torch.tensor(c) for c in counter), (key[0], key[1]))
    assert [int(lane) for lane in lanes] == expected


def test_a_number_depends_on_its_key_alone():
    ids = torch.tensor([5, 900, 3, 2**31])
    whole = randomness.words(7, "crop", 3, ids, 10)
    for i, row in enumerate(ids.tolist()):
        assert torch.equal(randomness.words(7, "crop", 3, torch.tensor([row]), 10)[0], whole[i])
    assert torch.equal(randomness.words(7, "crop", 3, ids, 6), whole[:, :6])
    assert torch.equal(randomness.words(7, "crop", 3, ids, 6, first_block=1), whole[:, 4:])
    for other in [(8, "crop", 3), (7, "mirror", 3), (7, "crop", 4)]:
        assert not torch.equal(randomness.words(*other, ids, 10), whole)


def test_distributions():
    ids = torch.arange(20_000)
    values = randomness.normal(1, "a", 0, ids, 5).numpy()
    assert abs(values.mean()) < 0.01 and abs(values.std() - 1) < 0.01
    assert abs((values**3).mean()) < 0.03 and abs((values**4).mean() - 3) < 0.1
    drawn = randomness.integers(1, "b", 0, ids, [33, 33, 2]).numpy()
    counts = np.bincount(drawn[:, 0] * 33 + drawn[:, 1], minlength=33 * 33)
    expected = len(ids) / 33**2
    assert ((counts - expected) ** 2 / expected).sum() < 1088 + 4 * (2 * 1088) ** 0.5  # chi-square
    assert abs(drawn[:, 2].mean() - 0.5) < 0.015
    whole = randomness.normal_tensor(0, "w", (300, 1001))
    assert abs(float(whole.mean())) < 0.01 and abs(float(whole.std()) - 1) < 0.01


def test_permutation_and_mask():
    order = randomness.permutation(0, "order", 4, 1000)
    assert sorted(order.tolist()) == list(range(1000)) and order.tolist() != list(range(1000))
    assert not torch.equal(order, randomness.permutation(0, "order", 5, 1000))
    keep = randomness.keep_mask(0, "fc6", 1, torch.arange(50), 4096, 0.25)
    assert abs(float(keep.double().mean()) - 0.75) < 0.005
    with pytest.raises(ValueError, match="seed"):
        randomness.words(-1, "a", 0, torch.arange(1), 1)


def test_a_whole_tensor_is_the_same_on_any_number_of_threads_and_in_inference_mode():
    shape = (3, 4 * randomness.CHUNK_BLOCKS // 2 + 5)  # two pieces, the second of them cut
    before, drawn = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            drawn.append(randomness.normal_tensor(9, "initialisation/fc6.weight", shape))
    finally:
        torch.set_num_threads(before)
    with torch.inference_mode():
        drawn.append(randomness.normal_tensor(9, "initialisation/fc6.weight", shape))
    pairs = randomness.words(9, "initialisation/fc6.weight", 0, torch.zeros(1, dtype=torch.int64), 8).numpy()[0]
    radius = np.sqrt(-2 * np.log((pairs[0::2] + 0.5) / 2**32))
    angle = 2 * np.pi * pairs[1::2] / 2**32
    by_hand = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel()
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])
    np.testing.assert_allclose(drawn[0].view(-1)[:8], by_hand, rtol=1e-6, atol=1e-7)
