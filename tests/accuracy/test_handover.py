"""Another voice in a call is noticed, and one voice is left alone: the shipped model and speech."""

from __future__ import annotations

import numpy as np
import pytest
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.values import Float32
from support.joined_calls import noticed, one_voice, two_voices, windows_of
from support.speech import eval_ids, eval_utterance

pytestmark = [pytest.mark.accuracy, pytest.mark.timeout(300)]
CALLS = 300


def test_nine_of_ten_changes_are_noticed_in_four_windows_and_two_of_a_hundred_calls_at_most() -> (
    None
):
    bundle = load_bundle(shipped_bundle())
    backend, below = OnnxRuntimeCpu(bundle), bundle.card.calibration.handover_below
    assert below is not None
    speakers: dict[str, list[Float32]] = {}
    for name in eval_ids():
        found = windows_of(backend, eval_utterance(name))
        speakers.setdefault(name.split("-")[0], []).append(found)
    random = np.random.default_rng(1)
    alarms = sum(noticed(one_voice(speakers, random), below) is not None for _ in range(CALLS))
    right = 0
    for _ in range(CALLS):
        call, begins = two_voices(speakers, random)
        change = noticed(call, below)
        right += change is not None and begins <= change.window < begins + 4
    print(f"noticed {right} of {CALLS}, false alarms {alarms} of {CALLS}")  # noqa: T201 - with -s
    assert right >= 0.9 * CALLS
    assert alarms <= 0.02 * CALLS
