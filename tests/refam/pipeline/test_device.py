"""Devices that are not there."""

from __future__ import annotations

import pytest
import torch

import refam
from refam.pipeline import device as module
from refam.pipeline.device import require_device


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_the_processor_is_always_there(device):
    require_device(device)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU", ""])
def test_unknown_names_are_refused(device):
    with pytest.raises(refam.PromptError, match=r"device must be auto, cpu, mps, cuda or cuda:N"):
        require_device(device)


@pytest.mark.parametrize("is_built_for_cpu", [True, False])
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:3"])
def test_cuda_is_refused_where_there_is_none(device, is_built_for_cpu, monkeypatch):
    monkeypatch.setattr(module, "_is_built_for_cpu", lambda: is_built_for_cpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(refam.PromptError, match=f"device '{device}': this torch was built|sees no CUDA"):
        require_device(device)


def test_a_gpu_beyond_the_last_is_refused(monkeypatch):
    monkeypatch.setattr(module, "_is_built_for_cpu", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    require_device("cuda")
    require_device("cuda:1")
    with pytest.raises(refam.PromptError, match="there are 2 CUDA devices, cuda:0 to cuda:1"):
        require_device("cuda:2")


def test_torchs_version_file_tells_what_it_was_built_for():
    assert module._is_built_for_cpu() == (torch.version.cuda is None and torch.version.hip is None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_model_is_not_loaded_for_a_device_that_is_not_there():
    with pytest.raises(refam.PromptError, match="device 'cuda'"):
        refam.load(segmenter="grabcut", device="cuda", offline=True)
