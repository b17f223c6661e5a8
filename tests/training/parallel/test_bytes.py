"""Bytes of a step at the interface, between network namespaces, against the formula. Root, Linux."""

import json

import pytest
from benchmarks import hosts, parallel_bytes

pytestmark = pytest.mark.net


def test_each_layout_sends_what_the_formula_says(tmp_path):
    net = tmp_path / "narrow.toml"
    net.write_text(parallel_bytes.NARROW, encoding="utf-8")
    with hosts.bridged(2, "tested") as spaces:
        words = ["-m", "benchmarks.parallel_bytes", "--rank", "--batches", "8", "--passes", "--net", str(net)]
        rows = json.loads(hosts.on_hosts(spaces, words, 600))
    assert {(row["layout"], row["precision"]) for row in rows} == {
        *((name, "float32") for name in parallel_bytes.LAYOUTS),
        *((name, "bf16") for name in ("data", "towers", "hybrid")),
    }
    assert {row["passes"] for row in rows if "passes" in row} == set(parallel_bytes.CASES_OF_PASSES)
    for row in rows:
        assert row["sent"] == pytest.approx(row["formula"], rel=0.02, abs=1000), row  # what TCP says by itself
