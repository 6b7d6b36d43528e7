"""One word decides where a model runs, for Lightning and for predict alike; and what is there."""

import getpass
import platform
from pathlib import Path

import pytest
import torch

from catdog_pl.devices import (
    FEATURES,
    bfloat16_is_fast,
    check_accelerator,
    check_devices,
    find_device,
    hardware,
)
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


@pytest.mark.parametrize("word", ["auto", "2", "16", "-1", "0,", "0,1", "1, 3", 2, -1, [0, 1]])
def test_devices_are_counted_or_named_as_lightning_does(word: object) -> None:
    check_devices(word, accelerator="tpu")  # a plug-in's is not asked for


@pytest.mark.parametrize("word", ["x", "0", "-2", "1.5", "2x", "", ",", "0;1", 0, -2])
def test_what_is_no_number_of_devices_is_named(word: object) -> None:
    with pytest.raises(UsageError, match=f"^--devices {word}: valid is auto, a number such as 2, or the GPU"):
        check_devices(word, accelerator="cpu")


@pytest.mark.parametrize("word", ["-1", "0,", "0,1", -1, [0, 1]])
def test_the_numbers_of_gpus_are_none_of_the_processors(word: object, gpu: str | None) -> None:
    with pytest.raises(UsageError, match="means GPUs; on the CPU, valid is auto or a number such as 2"):
        check_devices(word, accelerator="cpu")
    if gpu:
        check_devices(word, accelerator="auto")


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


@pytest.mark.parametrize(
    ("machine", "onednn", "avx512_bf16", "amx", "is_fast"),
    [
        ("x86_64", False, False, False, False),  # AVX2
        ("x86_64", True, False, False, False),  # AVX-512 without bfloat16, which oneDNN emulates
        ("x86_64", True, True, False, True),
        ("AMD64", True, False, True, True),
        ("aarch64", False, False, False, False),
        ("aarch64", True, False, False, True),
    ],
)
def test_processors_that_have_bfloat16(
    machine: str, onednn: bool, avx512_bf16: bool, amx: bool, is_fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert bfloat16_is_fast.__wrapped__(torch.device("cpu")) is is_fast


def test_gpus_that_have_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert not bfloat16_is_fast.__wrapped__(torch.device("cuda"))  # a T4 emulates it
    assert bfloat16_is_fast.__wrapped__(torch.device("mps"))


def test_this_machines_answer_needs_no_new_pytorch() -> None:
    assert bfloat16_is_fast(torch.device("cpu")) in (True, False)


def test_the_hardware_tells_what_computes_but_not_whose_it_is() -> None:
    found = hardware.__wrapped__()
    assert list(found) == ["processor", "cores", "features", "system"]
    assert found["processor"]
    assert all(name in FEATURES for name in found["features"])  # type: ignore[union-attr]
    assert found["system"] == f"{platform.system()} {platform.machine()}"
    words = str(found).split()
    assert not {platform.node(), getpass.getuser(), str(Path.home())} & set(words)


def test_the_hardware_names_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    assert hardware.__wrapped__(torch.device("cuda", 1))["gpu"] == "GPU of cuda:1"
    assert hardware.__wrapped__(torch.device("mps"))["gpu"] == "mps"


def test_the_hardware_of_a_system_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(platform, "processor", lambda: "")  # as some systems answer
    found = hardware.__wrapped__()
    assert (found["processor"], found["features"]) == (platform.machine(), [])
