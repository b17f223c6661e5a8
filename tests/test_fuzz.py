"""Readers of other people's bytes refuse in words, whatever the bytes: the fuzzer's seeds, and mutations of them."""

import numpy as np
import pytest

from tests.fuzz.readers import CORPUS, READERS


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, cut out, doubled or cut off."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(0, max(1, len(found))))
        kind = int(rng.integers(0, 4))
        if kind == 0 and found:
            found[place] = int(rng.integers(0, 256))
        elif kind == 1:
            del found[place : place + int(rng.integers(1, 64))]
        elif kind == 2:
            found[place:place] = found[place : place + int(rng.integers(1, 64))]
        elif rng.random() < 0.2:
            del found[place:]
    return bytes(found)


@pytest.mark.parametrize("reader", READERS)
def test_seeds_and_their_mutations(reader, capfd):
    seeds = sorted((CORPUS / reader).iterdir())
    assert seeds
    rng = np.random.default_rng(0)
    for seed in seeds:
        data = seed.read_bytes()
        READERS[reader](data)
        for _ in range(max(10, 120 // len(seeds))):
            READERS[reader](mutated(data, rng))
