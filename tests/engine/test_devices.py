from __future__ import annotations

import importlib
import importlib.metadata
import re
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.engine import devices
from speakerd_server.engine.devices import (
    DEVICES,
    Device,
    Found,
    Gpu,
    check_one_onnxruntime,
    find_gpu,
    look_for_gpus,
    parse_device,
    remote_address,
)
from speakerd_server.errors import DeviceUnavailable, OnnxRuntimeTwice
from support.gpu import no_gpu, some_gpu


@given(st.integers(0, 999))
def test_a_device_is_read_as_it_is_written(number: int) -> None:
    assert parse_device(str(Device(number))) == Device(number)
    assert parse_device(str(Device())) == Device(None)


@pytest.mark.parametrize("text", ["", "gpu", "gpu:", "gpu:-1", "gpu:1.0", "CPU", "cuda:0", "gpu:٣"])
def test_what_is_no_device_is_refused_and_told_how_to_write_one(text: str) -> None:
    with pytest.raises(DeviceUnavailable, match="write cpu or gpu:N"):
        parse_device(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("kserve:triton.example:8001", "triton.example:8001"),
        ("kserve:10.0.0.1:8001", "10.0.0.1:8001"),
        ("kserve:[::1]:8001", "[::1]:8001"),
        ("cpu", None),
        ("gpu:0", None),
    ],
)
def test_a_server_elsewhere_is_read_by_its_address(text: str, address: str | None) -> None:
    assert re.fullmatch(DEVICES, text)
    assert remote_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "kserve:",
        "kserve:host",
        "kserve:host:",
        "kserve::8001",
        "kserve:host:port",
        "kserve:::1:8001",
        "kserve:a b:8001",
        "kserve:host:8001/v2",
        "kserve:host=x:8001",
        "http://host:8001",
        "",
        "gpu:0:1",
    ],
)
def test_what_is_no_server_elsewhere_is_no_device_of_the_settings(text: str) -> None:
    assert not re.fullmatch(DEVICES, text)


def test_without_a_driver_cudas_own_error_is_told() -> None:
    found = no_gpu()
    assert "no NVIDIA driver (CUDA error 35" in found
    assert "CPUExecutionProvider" in found
    with pytest.raises(DeviceUnavailable) as refused:
        find_gpu(Device(0))
    assert refused.value.asked == "gpu:0"
    assert refused.value.found == found


def test_a_missing_package_is_told_apart_from_a_missing_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("cuda.bindings.runtime", "cuda.bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    found = look_for_gpus()
    assert found.problem.startswith("no module cuda.bindings")
    assert "pip install 'speakerd-server[gpu]'" in found.problem
    assert "driver" not in found.problem


class Runtime:
    """CUDA's runtime as a machine with these GPUs, driver and status would have it."""

    def __init__(self, names: tuple[str, ...], driver: int = 13000, status: int = 0) -> None:
        self._names, self._driver, self._status = names, driver, status

    def cudaDriverGetVersion(self) -> tuple[int, int]:  # noqa: N802 - CUDA's name
        return 0, self._driver

    def cudaRuntimeGetVersion(self) -> tuple[int, int]:  # noqa: N802
        return 0, 13050

    def cudaGetDeviceCount(self) -> tuple[int, int | None]:  # noqa: N802
        return self._status, None if self._status else len(self._names)

    def cudaGetErrorString(self, status: int) -> tuple[int, bytes]:  # noqa: N802
        return 0, b"too old"

    def cudaGetDeviceProperties(self, number: int) -> tuple[int, Any]:  # noqa: N802
        name = self._names[number].encode()
        return 0, SimpleNamespace(major=8, minor=9, name=name, totalGlobalMem=24 * 2**30)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Runtime], None]:
    def become(runtime: Runtime) -> None:
        monkeypatch.setattr(devices, "cuda_runtime", lambda: runtime)

    return become


def test_gpus_are_told_by_number_name_capability_and_memory(
    machine: Callable[[Runtime], None],
) -> None:
    machine(Runtime(("NVIDIA L4", "NVIDIA L40S")))
    found = look_for_gpus()
    assert found.driver == "13.0"
    assert found.gpus[1] == Gpu(1, "NVIDIA L40S", "8.9", 24 * 2**30)
    assert str(found).startswith("gpu:0 NVIDIA L4 (8.9, 24 GiB); gpu:1 NVIDIA L40S (8.9, 24 GiB);")
    assert find_gpu(Device(1)).name == "NVIDIA L40S"
    with pytest.raises(DeviceUnavailable, match=r"gpu:2 was asked for .* gpu:0 NVIDIA L4"):
        find_gpu(Device(2))


def test_a_driver_that_is_too_old_is_told_with_both_versions(
    machine: Callable[[Runtime], None],
) -> None:
    machine(Runtime((), driver=12040, status=35))
    problem = look_for_gpus().problem
    assert problem == "an NVIDIA driver for CUDA 12.4 (CUDA error 35: too old; this is 13.5)"


def test_a_driver_without_a_gpu_is_told(machine: Callable[[Runtime], None]) -> None:
    machine(Runtime(()))
    assert look_for_gpus().problem == "an NVIDIA driver for CUDA 13.0 that sees no GPU"


def test_what_was_found_names_the_execution_providers() -> None:
    assert str(Found((), "", "nothing", ())) == (
        "nothing; execution providers of ONNX Runtime: none"
    )


def test_both_packages_of_onnx_runtime_at_once_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_one_onnxruntime()
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: name)
    with pytest.raises(OnnxRuntimeTwice, match="onnxruntime and onnxruntime-gpu are installed"):
        check_one_onnxruntime()


def test_without_onnx_runtime_there_are_no_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert tuple(devices.onnxruntime_providers()) == ()
    monkeypatch.undo()
    assert "CPUExecutionProvider" in devices.onnxruntime_providers()
    importlib.import_module("onnxruntime")


@pytest.mark.gpu
def test_a_gpu_that_is_there_is_found() -> None:
    gpu = some_gpu()
    assert find_gpu(Device(gpu.number)) == gpu
    assert gpu.memory_bytes > 2**30
