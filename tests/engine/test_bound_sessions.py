"""Bound sessions run for real, on the processor's memory by ONNX Runtime's processor provider."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from speakerd_server.engine.batch import embed_windows
from speakerd_server.engine.bound_sessions import BoundSessions, failure_of
from speakerd_server.engine.devices import CPU_PROVIDER
from speakerd_server.engine.lane import Lane, LaneSizes, lane_memory
from speakerd_server.engine.long_windows import averaged, buffer_samples, laid_out, runs
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.engine.onnxruntime_cuda import open_session
from speakerd_server.engine.place import HostPlace
from speakerd_server.errors import DeviceLost, DeviceOutOfMemory
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.models.gpu_graph import gpu_graph
from speakerd_server.values import Float32, Window
from support.signals import noise
from support.sounds import batch, lowest_cosine, window, windows_of

pytestmark = pytest.mark.timeout(60)

FRAMES = 98
SIZES = LaneSizes(dim=192, window_frames=FRAMES, batch_windows=4, longest_frames=250)
SAME = 1 - 1e-6


@pytest.fixture(scope="module")
def exact() -> OnnxRuntimeCpu:
    return OnnxRuntimeCpu(load_bundle(shipped_bundle()))


@pytest.fixture(scope="module")
def lane() -> Iterator[Lane]:
    bundle = load_bundle(shipped_bundle())
    usual = gpu_graph(bundle, "float32", (buffer_samples(FRAMES), FRAMES))
    other = gpu_graph(bundle, "float32")
    sessions = [open_session(bundle.onnx_path, one, [CPU_PROVIDER]) for one in (usual, other)]
    place = HostPlace()
    memory = lane_memory(place, SIZES)
    program = BoundSessions(sessions[0], sessions[1], place, memory, SIZES)
    program.warm()
    made = Lane(place, memory, program, SIZES)
    yield made
    made.close()


def alone(exact: OnnxRuntimeCpu, one: Window) -> Float32:
    embedding: Float32 = exact.embed(one.pcm[None], one.rows[None])[0]
    return embedding


def embedded(lane: Lane, windows: list[Window]) -> Float32:
    found = embed_windows(lane, windows, SIZES.dim)
    assert all(isinstance(one, np.ndarray) for one in found), found
    return np.stack([one for one in found if isinstance(one, np.ndarray)])


@pytest.mark.parametrize("count", [1, 3, 4, 6])
@pytest.mark.parametrize("frames", [3, FRAMES, 198])
def test_bound_memory_gives_the_numbers_of_the_plain_engine(
    lane: Lane, exact: OnnxRuntimeCpu, count: int, frames: int
) -> None:
    windows = [window(frames, seed) for seed in range(count)]
    wanted = np.stack([alone(exact, one) for one in windows])
    assert lowest_cosine(embedded(lane, windows), wanted) >= SAME


def test_tails_and_short_signals_are_exact(lane: Lane, exact: OnnxRuntimeCpu) -> None:
    for samples in (400, 5_000, 15_919, 40_000):
        for one in windows_of(noise(samples), 16_000):
            assert lowest_cosine(embedded(lane, [one]), alone(exact, one)[None]) >= SAME


def test_lengths_in_any_order_do_not_disturb_each_other(lane: Lane, exact: OnnxRuntimeCpu) -> None:
    for frames in (FRAMES, 250, FRAMES, 40, FRAMES):
        one = window(frames, frames)
        assert lowest_cosine(embedded(lane, [one]), alone(exact, one)[None]) >= SAME


def test_a_long_window_is_the_mean_of_its_runs(lane: Lane, exact: OnnxRuntimeCpu) -> None:
    one = window(600)
    parts = runs(600, SIZES.longest_frames)
    pieces = [laid_out(one.pcm, one.rows[part]) for part in parts]
    wanted = np.stack([alone(exact, Window(0, pcm, rows, 0)) for pcm, rows in pieces])
    assert lowest_cosine(embedded(lane, [one]), averaged(wanted, parts)[None]) >= SAME


def test_usual_batches_are_computed_where_they_were_laid_out(lane: Lane) -> None:
    pcm, rows = batch(2, FRAMES)
    own_pcm, own_rows = lane.buffers(2, pcm.shape[1], FRAMES)
    own_pcm[:], own_rows[:] = 0.0, rows
    own_pcm[:, : pcm.shape[1]] = pcm
    address = own_pcm.ctypes.data
    assert lane.embed(own_pcm, own_rows).shape == (2, 192)
    assert lane.buffers(4, pcm.shape[1], FRAMES)[0].ctypes.data == address


def test_what_onnx_runtime_says_of_memory_and_of_lost_devices_becomes_their_names() -> None:
    full = RuntimeError("BFCArena: Failed to allocate memory for requested buffer of size 9")
    lost = RuntimeError("CUDA failure 700: an illegal memory access was encountered ; GPU=0")
    assert isinstance(failure_of(full), DeviceOutOfMemory)
    assert isinstance(failure_of(RuntimeError("CUDA failure 2: out of memory")), DeviceOutOfMemory)
    for text in (
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
        "DEVICE_ALLOCATION_FAILED ; GPU=0",
    ):
        assert isinstance(failure_of(RuntimeError(text)), DeviceOutOfMemory)
    assert isinstance(failure_of(lost), DeviceLost)
    assert failure_of(RuntimeError("CUDA failure 1: invalid argument")) is None
    assert failure_of(ValueError("invalid dimensions")) is None
