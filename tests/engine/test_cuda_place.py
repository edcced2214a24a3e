from __future__ import annotations

import numpy as np
import pytest
from speakerd_server.engine.cuda_place import LOST, CudaPlace, checked
from speakerd_server.engine.devices import cuda_runtime
from speakerd_server.errors import DeviceLost, DeviceOutOfMemory, DeviceUnavailable
from support.gpu import no_gpu, some_gpu


def test_without_a_driver_a_place_is_refused_with_what_was_found() -> None:
    found = no_gpu()
    with pytest.raises(DeviceUnavailable) as refused:
        CudaPlace(0)
    assert refused.value.asked == "gpu:0"
    assert refused.value.found == found
    assert "CUDA error 35" in found


def test_every_failure_of_cuda_has_its_name() -> None:
    runtime = cuda_runtime()
    codes = runtime.cudaError_t
    with pytest.raises(DeviceOutOfMemory, match="CUDA error 2: out of memory"):
        checked(runtime, (codes.cudaErrorMemoryAllocation,), 0)
    with pytest.raises(DeviceLost, match="CUDA error 700: an illegal memory access"):
        checked(runtime, (codes.cudaErrorIllegalAddress,), 0)
    with pytest.raises(DeviceUnavailable, match="gpu:3 was asked for"):
        checked(runtime, (codes.cudaErrorInvalidDevice,), 3)
    with pytest.raises(RuntimeError, match="CUDA error 1: invalid argument"):
        checked(runtime, (codes.cudaErrorInvalidValue,), 0)
    assert {int(getattr(codes, name)) for name in dir(codes) if name == "cudaErrorECCUncorrectable"}
    assert int(codes.cudaErrorLaunchFailure) in LOST


def test_what_succeeds_gives_its_value() -> None:
    runtime = cuda_runtime()
    success = runtime.cudaError_t.cudaSuccess
    assert checked(runtime, (success,), 0) is None
    assert checked(runtime, (success, 7), 0) == 7


@pytest.mark.gpu
def test_an_array_goes_to_the_gpu_and_comes_back() -> None:
    place = CudaPlace(some_gpu().number)
    array = place.mirrored(1000, np.float32)
    assert not array.host.any()
    array.host[:] = np.arange(1000)
    array.up(600)
    place.wait()
    array.host[:] = -1
    array.down(1000)
    place.wait()
    np.testing.assert_array_equal(array.host[:600], np.arange(600))
    assert not array.host[600:].any()
    place.close()


@pytest.mark.gpu
def test_graphs_that_others_record_forbid_a_lane_nothing() -> None:
    place = CudaPlace(some_gpu().number)
    runtime = place.runtime
    modes = runtime.cudaStreamCaptureMode
    _, before = runtime.cudaThreadExchangeStreamCaptureMode(modes.cudaStreamCaptureModeGlobal)
    assert before == modes.cudaStreamCaptureModeThreadLocal
    place.close()


@pytest.mark.gpu
def test_recorded_copies_are_done_again_at_each_launch() -> None:
    place = CudaPlace(some_gpu().number)
    array = place.mirrored(8, np.float32)
    graph = place.capture(lambda: array.up(8))
    for value in (3.0, 5.0):
        array.host[:] = value
        graph.launch()
        place.wait()
        array.host[:] = 0
        array.down(8)
        place.wait()
        np.testing.assert_array_equal(array.host, np.full(8, value, np.float32))
    place.close()


@pytest.mark.gpu
def test_more_memory_than_there_is_is_refused_by_name() -> None:
    gpu = some_gpu()
    place = CudaPlace(gpu.number)
    with pytest.raises(DeviceOutOfMemory):
        place.mirrored(2 * gpu.memory_bytes, np.uint8)
    place.close()
