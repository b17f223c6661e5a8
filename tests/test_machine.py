"""What a process may use, and that nothing called from Python changes the caller's process."""

import math
import os
from pathlib import Path

import pytest
import torch

from alexnet import Recipe, UsageError, machine, train


def system(root: Path, groups: str, **files: str) -> Path:
    """A file system with control groups."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_cfs", ".cfs").replace("_max", ".max")
        path = path.with_name(path.name.replace("_limit", ".limit"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_quotas_of_either_version_the_tightest_of_a_groups_parents(tmp_path):
    assert machine.cpu_quota(tmp_path) == math.inf
    second = system(tmp_path / "2", "0::/a/b\n", a__b__cpu_max="max 100000\n", a__cpu_max="150000 100000\n",
                    cpu_max="400000 100000\n")  # fmt: skip
    assert machine.cpu_quota(second) == 1.5
    outside = system(tmp_path / "2b", "0::/not/seen/in/here\n", cpu_max="50000 100000\n")
    assert machine.cpu_quota(outside) == 0.5
    first = system(
        tmp_path / "1", "4:memory:/m\n3:cpu,cpuacct:/docker/x\n0::/\n",
        **{"cpu,cpuacct__cpu_cfs_quota_us": "250000\n", "cpu,cpuacct__cpu_cfs_period_us": "100000\n"},
    )  # fmt: skip
    assert machine.cpu_quota(first) == 2.5
    (first / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us").write_text("-1\n")
    assert machine.cpu_quota(first) == math.inf


def test_memory_is_the_machines_or_what_a_group_has(tmp_path):
    own = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert machine.memory(tmp_path) == own
    second = system(tmp_path / "2", "0::/a/b\n", a__b__memory_max="max\n", a__memory_max="3000000\n")
    assert machine.memory(second) == 3_000_000
    first = system(tmp_path / "1", "4:memory:/m\n0::/\n", memory__m__memory_limit_in_bytes="2000000\n")
    assert machine.memory(first) == 2_000_000
    vast = system(tmp_path / "3", "4:memory:/m\n", memory__m__memory_limit_in_bytes="9223372036854771712\n")
    assert machine.memory(vast) == own  # version 1's word for none


def test_cores_and_threads(monkeypatch):
    own = machine.cores()
    for quota, most in ((0.2, 1), (1.0, 1), (1.2, 2), (math.inf, own)):
        monkeypatch.setattr(machine, "cpu_quota", lambda quota=quota: quota)
        assert machine.cores() == min(own, most)
    for asked, threads in (("3", 3), ("5,2", 5), ("", own), ("0", own), ("many", own)):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert machine.usual_threads() == threads
    before = torch.get_num_threads()
    try:
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        machine.set_up()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    with pytest.raises(UsageError, match="--threads 0"):
        machine.set_up(0)


def test_training_from_python_leaves_the_process_as_it_is(dataset, net_file, tmp_path, monkeypatch):
    """Its threads are the caller's, or those asked for until it ends, whatever comes of it."""
    monkeypatch.setattr(machine, "set_up", lambda threads=None: pytest.fail("the process was set up"))
    recipe, before, seen = Recipe(net=net_file, crop_size=48, batch_size=16, epochs=1), torch.get_num_threads(), []

    def loss(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return torch.nn.functional.cross_entropy(scores, labels)

    try:
        torch.set_num_threads(3)
        train(dataset, tmp_path / "a", recipe, loss=loss, show=False)
        train(dataset, tmp_path / "b", recipe, loss=loss, threads=1, show=False)
        assert set(seen[:3]) == {3} and set(seen[3:]) == {1} and torch.get_num_threads() == 3
        with pytest.raises(ZeroDivisionError):
            train(dataset, tmp_path / "c", recipe, loss=lambda scores, labels: 1 // 0, threads=1, show=False)
        assert torch.get_num_threads() == 3
        with pytest.raises(UsageError, match="--threads 0"):
            train(dataset, tmp_path / "d", recipe, threads=0, show=False)
    finally:
        torch.set_num_threads(before)


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert machine.choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UsageError, match=r"--device cuda:2: .*no such GPU; give cuda:0 to cuda:1"):
        machine.choose_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match=r"--device cuda:1: .*no such GPU; give cuda:0$"):
        machine.choose_device("cuda:1")
