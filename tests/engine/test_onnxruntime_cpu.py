from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.errors import ModelUnusable
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.values import Float32, Int64

FRAMES = 198


@pytest.fixture(scope="module")
def backend() -> Iterator[OnnxRuntimeCpu]:
    backend = OnnxRuntimeCpu(load_bundle(shipped_bundle()))
    yield backend
    backend.close()


def noise(windows: int, samples: int) -> Float32:
    """Noise whose colour differs from window to window."""
    white = np.random.default_rng(0).standard_normal((windows, samples + 8))
    mixing = np.random.default_rng(1).uniform(-1, 1, (windows, 9))
    coloured = [np.convolve(row, mix, "valid") for row, mix in zip(white, mixing, strict=True)]
    return (0.1 * np.stack(coloured)).astype(np.float32)


def cosine(one: Float32, other: Float32) -> float:
    a, b = one.astype(np.float64), other.astype(np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def rows_of(windows: int, frames: int = FRAMES) -> Int64:
    return np.tile(np.arange(frames), (windows, 1))


def test_a_batch_agrees_with_batch_one(backend: OnnxRuntimeCpu) -> None:
    pcm = noise(8, 32000)
    together = backend.embed(pcm, rows_of(8))
    assert together.shape == (8, 192)
    assert together.dtype == np.float32
    for window, embedding in zip(pcm, together, strict=True):
        alone = backend.embed(window[None], rows_of(1))[0]
        assert cosine(embedding, alone) >= 1 - 1e-6


def test_zeros_after_a_window_change_nothing(backend: OnnxRuntimeCpu) -> None:
    pcm = noise(1, 32000)
    padded = np.pad(pcm, ((0, 0), (0, 12345)))
    assert (
        cosine(backend.embed(padded, rows_of(1))[0], backend.embed(pcm, rows_of(1))[0]) >= 1 - 1e-6
    )


def test_rows_pick_frames_in_any_order(backend: OnnxRuntimeCpu) -> None:
    # Frames 100..197 of a signal, then its first 100: as a tail that is filled up from the head.
    pcm = noise(1, 160 * (FRAMES - 1) + 400)
    tail, head = pcm[:, 16000:], pcm[:, : 160 * 99 + 400]
    grid_samples = -(-tail.shape[1] // 160) * 160
    buffer = np.concatenate([np.pad(tail, ((0, 0), (0, grid_samples - tail.shape[1]))), head], 1)
    rows = np.concatenate([np.arange(98), grid_samples // 160 + np.arange(100)])
    wanted = backend.embed(pcm, np.roll(np.arange(FRAMES), -100)[None])[0]
    assert cosine(backend.embed(buffer, rows[None])[0], wanted) >= 1 - 1e-6
    unrolled = backend.embed(pcm, rows_of(1))[0]
    assert cosine(wanted, unrolled) < 1 - 1e-4


def test_the_fewest_frames_of_the_card_are_finite(backend: OnnxRuntimeCpu) -> None:
    frames = load_bundle(shipped_bundle()).card.min_frames
    embedding = backend.embed(noise(1, 160 * frames + 240), rows_of(1, frames))
    assert np.isfinite(embedding).all()
    assert not np.isfinite(backend.embed(noise(1, 560), rows_of(1, frames - 1))).all()


def test_a_row_outside_the_audio_fails_instead_of_reading_something_else(
    backend: OnnxRuntimeCpu,
) -> None:
    with pytest.raises(Exception, match="GatherND"):
        backend.embed(noise(1, 32000), rows_of(1, FRAMES + 1))


def test_a_file_that_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    bundle = load_bundle(shipped_bundle())
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelUnusable, match="cannot load"):
        OnnxRuntimeCpu(dataclasses.replace(bundle, onnx_path=path))
