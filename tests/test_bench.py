"""``bench`` measures what it says, and ``doctor`` says which path runs."""

import json
import os
import socket
import subprocess
import sys
import types

import pytest
import torch

from alexnet import machine, native
from alexnet.nets.costs import costs
from alexnet.nets.table_file import load_table


@pytest.fixture(autouse=True)
def _small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine's rates are measured with: large enough to be measured, no more."""
    monkeypatch.setattr("alexnet.diagnostics.bench.SIDE", 512)
    monkeypatch.setattr("alexnet.diagnostics.bench.COPIED", 8 << 20)
    monkeypatch.setattr("alexnet.diagnostics.bench.IMAGES", 64)
    monkeypatch.setattr("alexnet.diagnostics.bench.PHOTOS", 8)


def test_bench_measures_every_round_and_compares_medians(alexnet, net_file):
    status, out, err = alexnet("bench", "--net", net_file, "--batch-size", 4, "--classes", 10, "--rounds", 3, "--json")
    assert status == 0 and "round 3 of 3" in err
    found = json.loads(out)
    measured = found["measured"]
    assert all(len(each["rounds"]) == 3 and min(each["rounds"]) > 0 for each in measured.values())
    assert all(each["median"] == sorted(each["rounds"])[1] for each in measured.values())
    ratio = measured["step"]["median"] / measured["plain_step"]["median"]
    assert found["ratios"]["training step, ours to plain port"] == pytest.approx(ratio)
    rows = costs(load_table(net_file), 10)
    products = 2 * (3 * sum(row.multiply_adds for row in rows) - rows[0].multiply_adds)  # images have no gradient
    floor = measured["matrix"]["median"] * 1e9 / products
    assert found["ratios"]["training step, ours to matrix-rate floor"] == pytest.approx(
        measured["step"]["median"] / floor
    )
    assert found["machine"]["kernels"] == native.kernels(torch.device("cpu"))


def test_bench_as_a_table_and_wrong_use(alexnet, net_file, monkeypatch):
    monkeypatch.setattr("alexnet.diagnostics.bench.NOISY", -1.0)
    status, out, err = alexnet("bench", "--net", net_file, "--batch-size", 2, "--classes", 4, "--rounds", 1)
    assert status == 0 and "training step, plain port" in out and "loader, ours to bare decoding" in out
    said = (out + err).split("these spread too far to compare: ")[1]  # all of them, and it is said
    assert "training step, plain port" in said and "bare decoding" in said
    status, _, err = alexnet("bench", "--rounds", 0)
    assert status == 2 and "--rounds 0" in err
    status, _, err = alexnet("bench", "--net", "nothing")
    assert status == 2 and "nothing" in err


def test_doctor_says_which_kernels_run(alexnet):
    status, out, _ = alexnet("doctor", "--json")
    found = json.loads(out)
    assert status == 0 and torch.__version__ in found["facts"]["libraries"]
    assert found["facts"]["kernels"].startswith("compiled" if native.available() else "portable")
    assert found["facts"]["library"] == str(native.status().path or "none")
    with native.portable():
        status, out, _ = alexnet("doctor")
    assert status == 0 and "the portable kernels run: switched off by native.portable()" in out


def test_older_torch_is_asked_for_instruction_sets_one_by_one(monkeypatch):
    """torch 2.9, the lowest that is allowed, has no ``get_capabilities``; a processor with and one without bf16."""
    for has in (True, False):
        names = ("avx2", "avx512", "vnni", "avx512_bf16")
        old = types.SimpleNamespace(**{f"_is_{name}_supported": lambda has=has: has for name in names})
        with monkeypatch.context() as patch:
            patch.setattr(machine.torch, "cpu", old)
            found = machine.capabilities()
            assert found["avx2"] is found["avx512_bf16"] is has and machine.cpu_has_bf16() is has
            assert found["amx_tile"] is found["amx_bf16"] is False  # not asked where torch cannot be


@pytest.mark.slow
def test_bench_parallel_measures_every_layout_that_applies(alexnet, net_file):
    status, _, err = alexnet("bench", "--parallel")
    assert status == 2 and "--parallel: needs two processes" in err
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    words = [
        "bench",
        "--parallel",
        "--net",
        net_file,
        "--batch-size",
        "8",
        "--classes",
        "10",
        "--rounds",
        "2",
        "--json",
    ]
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "alexnet", *words, "--device", "cpu"],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outs = [rank.communicate(timeout=300)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0] and not outs[1]  # the first one speaks
    result = json.loads(outs[0])
    rows = {row["layout"]: row for row in result["layouts"]}
    assert set(rows) == {f"{name}, 2 ranks" for name in ("data", "towers", "hybrid", "sharded")}
    assert all(len(row["rounds"]) == 2 and min(row["rounds"]) > 0 for row in rows.values())
    parameters = sum(row.parameters for row in costs(load_table(net_file), 10))
    assert rows["data, 2 ranks"]["sent"] == 4 * parameters
    assert (
        result["latency"] > 0 and result["bandwidth"] > 0 and result["best"] in ("data", "towers", "hybrid", "sharded")
    )
