from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from speakerd_server.errors import ModelDamaged, ModelUnusable
from speakerd_server.gate.network import BATCH_FRAMES, ENCODER, SHIPPED, GateNetwork
from support.gate_frames import frames_of, judged
from support.speech import VOICES, noise, read

# What Silero's own network says of the first half second of the voice, frame by frame.
EXPECTED = [
    0.0089,
    0.0164,
    0.0114,
    0.0251,
    0.2517,
    0.2306,
    0.7552,
    0.9596,
    0.9727,
    0.9668,
    0.9636,
    0.9609,
    0.9841,
    0.9856,
    0.9961,
    0.9940,
]


def test_it_says_of_a_voice_what_silero_s_network_says() -> None:
    voice = read(VOICES / "rms-call.flac")[: BATCH_FRAMES * 512]
    assert judged(GateNetwork(), frames_of(voice), []) == pytest.approx(EXPECTED, abs=2e-4)


def test_noise_and_silence_are_no_speech() -> None:
    network = GateNetwork()
    for samples in (noise(1.0), np.zeros(16_000, np.float32)):
        assert judged(network, frames_of(samples)[:BATCH_FRAMES], []).max() < 0.3


def test_neither_the_row_nor_what_is_beside_it_nor_the_division_changes_a_bit() -> None:
    network, random = GateNetwork(), np.random.default_rng(3)
    frames = frames_of(noise(4.0, 1))[:BATCH_FRAMES]
    alone = network.encode(frames)
    for _ in range(40):
        rows = random.permutation(BATCH_FRAMES)
        count = int(random.integers(1, BATCH_FRAMES + 1))
        batch = random.standard_normal((BATCH_FRAMES, 576)).astype(np.float32)
        batch[rows[:count]] = frames[:count]
        assert np.array_equal(network.encode(batch)[rows[:count]], alone[:count])
    whole = judged(network, frames, [])
    for _ in range(40):
        at = sorted(int(one) for one in random.integers(0, BATCH_FRAMES, 6))
        assert np.array_equal(judged(network, frames, at), whole)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "gate"
    shutil.copytree(SHIPPED, folder)
    (folder / ENCODER).write_bytes((folder / ENCODER).read_bytes()[:-1])
    with pytest.raises(ModelDamaged, match=ENCODER):
        GateNetwork(folder)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match=ENCODER):
        GateNetwork(tmp_path)
