"""Covers common/model/devices.py: names of devices, with GPUs that are made up, since a test needs none."""

import pytest
import torch

from common.errors import ConfigError
from common.model import devices


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1", "cpu"])
def test_a_device_that_is_there_keeps_its_name(two_gpus, name):
    assert devices.resolve_device(name) == name
    assert torch.device(name).type == devices.kind_of(name)


def test_auto_takes_the_first_kind(two_gpus):
    assert devices.resolve_device("auto") == "cuda"


def test_a_gpu_beyond_the_last_is_refused_with_what_there_is(two_gpus):
    with pytest.raises(ConfigError, match="--device is 'cuda:2', .* cuda:0, cuda:1, cpu\n"):
        devices.resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["cuda:", "cuda:-1", "cuda:1:2", "gpu", "cpu:0", "CUDA", ""])
def test_what_is_no_device_is_refused(name):
    with pytest.raises(ConfigError, match=f"--device is '{name}'.*\n.*auto, cpu, cuda, cuda:N, mps"):
        devices.check_device_name(name)


@pytest.mark.parametrize(("name", "numbers"), [("cuda", [0, 1]), ("cuda:0", [0]), ("cuda:1", [1])])
def test_the_limit_of_memory_is_that_of_every_gpu_that_may_be_used(monkeypatch, two_gpus, name, numbers):
    limits = {}
    facts = type("Facts", (), {"total_memory": 80e9})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: facts)
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda share, device: limits.update({device: share})
    )
    devices.limit_gpu_memory(name, 41.0)
    assert limits == {f"cuda:{number}": 0.5 for number in numbers}
