"""One word decides where a model runs, for Lightning and for predict alike."""

import pytest
import torch

from catdog_pl.devices import check_accelerator, find_device
from catdog_pl.errors import UsageError


@pytest.fixture(params=[None, "cuda", "mps"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    kind: str | None = request.param
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: kind is not None)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: kind and torch.device(kind))
    return kind


def test_words_and_devices(gpu: str | None) -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto") == torch.device(gpu or "cpu")
    for word, name in (("gpu", "GPU"), ("cuda", "CUDA GPU"), ("mps", "Apple GPU")):
        if gpu and word in ("gpu", gpu):
            assert find_device(word) == torch.device(gpu)
            check_accelerator(word)
        else:
            line = f"--accelerator {word}: PyTorch finds no {name} on this machine; use cpu or auto"
            for ask in (find_device, check_accelerator):
                with pytest.raises(UsageError, match=line):
                    ask(word)


def test_unknown_words() -> None:
    with pytest.raises(UsageError, match=r"--accelerator gpuu: .* valid are auto, cpu, cuda, gpu, mps$"):
        find_device("gpuu")
    with pytest.raises(UsageError, match=r"--accelerator gpuu: .* valid are auto, cpu, cuda, gpu, mps, tpu"):
        check_accelerator("gpuu")


def test_what_only_lightning_knows_is_left_to_it() -> None:
    check_accelerator("tpu")
    check_accelerator(object())
    with pytest.raises(UsageError, match="--accelerator tpu: there is no such accelerator"):
        find_device("tpu")
