from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from speakerd_server.audio.ingest import Ingest
from speakerd_server.gate.energy import FLOOR_DBFS, loud_enough
from speakerd_server.gate.network import BATCH_FRAMES, GateNetwork
from speakerd_server.offline.telephone import LINE_FORMAT, to_line
from speakerd_server.values import Float32
from support.gate_frames import frames_of, judged
from support.signals import noise
from support.speech import RATE_HZ, eval_ids, eval_utterance


@pytest.mark.parametrize(("above_db", "loud"), [(-1.0, False), (1.0, True)])
def test_the_floor_is_where_it_says(above_db: float, loud: bool) -> None:
    frame = noise(512).astype(np.float64)
    frame *= 10 ** ((FLOOR_DBFS + above_db) / 20) / frame.std()
    assert loud_enough(frame.astype(np.float32)[None]).tolist() == [loud]


def test_a_constant_is_no_sound() -> None:
    assert not loud_enough(np.full((2, 512), 0.9, np.float32)).any()


def test_a_frame_is_judged_by_itself() -> None:
    frames = np.stack([noise(512, seed) * 10 ** -(seed / 3) for seed in range(12)])
    together = loud_enough(frames)
    assert 0 < together.sum() < 12
    assert [bool(loud_enough(one[None])[0]) for one in frames] == together.tolist()


def line(samples: Float32) -> Float32:
    ingest = Ingest(LINE_FORMAT, RATE_HZ)
    return np.concatenate([ingest.push(to_line(samples, RATE_HZ)), ingest.end()])


def quieter(samples: Float32) -> Float32:
    """Take 30 dB off, and round to 16 bits."""
    steps = np.rint(samples * 10**-1.5 * 32_768)
    return np.asarray(steps / 32_768, np.float32)


@pytest.mark.parametrize(
    ("way", "expected"),
    [(np.asarray, (10_485, 10)), (line, (10_306, 1)), (quieter, (9_856, 485))],
    ids=["as it is", "over a line", "30 dB quieter"],
)
def test_of_what_the_network_calls_speech_hardly_anything_is_too_quiet(
    way: Callable[[Float32], Float32], expected: tuple[int, int]
) -> None:
    """The numbers are those of docs/measurements/gate.md; other processors may round otherwise."""
    network, speech, dropped = GateNetwork(), 0, 0
    for name in eval_ids():
        frames = frames_of(way(eval_utterance(name)))
        places = list(range(BATCH_FRAMES, len(frames), BATCH_FRAMES))
        is_speech = judged(network, frames, places) >= 0.5
        speech += int(is_speech.sum())
        dropped += int((is_speech & ~loud_enough(frames[:, 64:])).sum())
    assert speech == pytest.approx(expected[0], rel=0.002)
    assert dropped == pytest.approx(expected[1], abs=2)
