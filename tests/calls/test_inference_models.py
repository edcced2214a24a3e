from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from speakerd_server.calls.inference_models import (
    FEATURES,
    LONGEST_FRAMES,
    UTTERANCES,
    WINDOWS,
    check_supported,
    in_utterance,
)
from speakerd_server.calls.inference_values import InferenceRequest, Tensor, WantedOutput
from speakerd_server.errors import (
    AudioNotFinite,
    AudioOutOfRange,
    AudioTooLong,
    AudioTooShort,
    AudioWithoutVoice,
    BatchSizeInvalid,
    InferenceUnsupported,
    InvalidInput,
    NoAudio,
    SpeakerdError,
    TensorInvalid,
)
from speakerd_server.windows.whole import whole_window
from support.inferring import tensor, utterances
from support.signals import card, noise

CARD = card()
LIMIT = 8
SIZES = st.integers(-3, 5) | st.sampled_from([0, 2**31, 2**62, 2**63 - 1, -(2**63)])


def asked(*inputs: Tensor, outputs: tuple[WantedOutput, ...] = ()) -> InferenceRequest:
    return InferenceRequest("some", "", inputs, outputs)


def loud_samples() -> float:
    return REGISTRY.get_sample_value("speakerd_loud_samples_total") or 0.0


def test_every_row_of_the_batch_is_the_window_of_its_samples_and_shares_their_memory() -> None:
    signals = [noise(2_345, seed) for seed in range(3)]
    request = utterances(*signals)
    read = UTTERANCES.read(request, CARD, LIMIT)
    assert len(read) == 3
    memory = np.frombuffer(request.inputs[0].data, np.float32)
    for inputs, signal in zip(read, signals, strict=True):
        window = UTTERANCES.window(inputs, CARD)
        expected = whole_window(signal, CARD.min_frames)
        assert np.array_equal(window.pcm, expected.pcm)
        assert np.array_equal(window.rows, expected.rows)
        assert np.shares_memory(window.pcm, memory)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["WAV", "wav", ""]),
    st.sampled_from(["FP32", "FP64", "INT64", "BYTES", ""]),
    st.lists(SIZES, max_size=4),
    st.binary(max_size=64) | st.integers(0, 16).map(lambda n: bytes(4 * n)),
)
def test_whatever_a_tensor_says_of_itself_it_is_read_rightly_or_refused_by_name(
    name: str, datatype: str, shape: list[int], data: bytes
) -> None:
    request = asked(Tensor(name, datatype, tuple(shape), data))
    try:
        read = UTTERANCES.read(request, CARD, LIMIT)
    except (TensorInvalid, BatchSizeInvalid):
        is_right = name == "WAV" and datatype == "FP32" and len(shape) == 2
        assert not (
            is_right
            and 1 <= shape[0] <= LIMIT
            and shape[1] >= 0
            and 4 * math.prod(shape) == len(data)
        )
        return
    assert np.array(read).tobytes() == data
    assert len(read) == shape[0]


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"name": "wav"}, "unexpected inference input 'wav' for model 'some'"),
        ({"datatype": "FP64"}, "data-type is 'FP64', but model 'some' expects 'FP32'"),
        ({"shape": (720,)}, "Expected [-1,-1], got [720]"),
        ({"shape": (1, 720, 1)}, "Expected [-1,-1], got [1,720,1]"),
        ({"shape": (1, -720)}, "Expected [-1,-1], got [1,-720]"),
        ({"shape": (1, 721)}, "Expected 2884, got 2880"),
        ({"data": b""}, "Expected 2880, got 0"),
        ({"data": b"123"}, "Expected 2880, got 3"),
    ],
)
def test_a_wrong_tensor_is_told_what_was_expected(given_: dict[str, Any], said: str) -> None:
    with pytest.raises(TensorInvalid) as refused:
        UTTERANCES.read(asked(tensor("WAV", noise(720)[None], **given_)), CARD, LIMIT)
    assert said in str(refused.value)
    assert refused.value.field == given_.get("name", "WAV")


@pytest.mark.parametrize("batch", [0, LIMIT + 1])
def test_no_utterances_and_too_many_are_refused_with_the_limit(batch: int) -> None:
    with pytest.raises(BatchSizeInvalid) as refused:
        UTTERANCES.read(asked(tensor("WAV", np.zeros((batch, 720), np.float32))), CARD, LIMIT)
    assert (refused.value.size, refused.value.limit) == (batch, LIMIT)
    assert len(UTTERANCES.read(utterances(*[noise(720)] * LIMIT), CARD, LIMIT)) == LIMIT


def test_inputs_must_all_be_there_once() -> None:
    wav = tensor("WAV", noise(720)[None])
    for inputs in ((), (wav, wav)):
        with pytest.raises(TensorInvalid, match="expected 1 inputs but got"):
            UTTERANCES.read(asked(*inputs), CARD, LIMIT)
    pcm = tensor("pcm", noise(720)[None])
    with pytest.raises(TensorInvalid, match=r"missing required input\(s\) \['rows'\]"):
        WINDOWS.read(asked(pcm), CARD, LIMIT)
    rows = tensor("rows", np.zeros((2, 3), np.int64))
    with pytest.raises(TensorInvalid, match="batch size does not match"):
        WINDOWS.read(asked(pcm, rows), CARD, LIMIT)


def test_the_order_of_inputs_does_not_matter() -> None:
    pcm, rows = tensor("pcm", noise(720)[None]), tensor("rows", np.arange(3)[None])
    for inputs in ((pcm, rows), (rows, pcm)):
        ((samples, frames),) = WINDOWS.read(asked(*inputs), CARD, LIMIT)
        assert (samples.size, frames.size) == (720, 3)


def test_outputs_can_be_named_and_no_others() -> None:
    wav = tensor("WAV", noise(720)[None])
    UTTERANCES.read(asked(wav, outputs=(WantedOutput("EMBEDDINGS"),)), CARD, LIMIT)
    with pytest.raises(TensorInvalid, match="unexpected inference output 'embs'"):
        UTTERANCES.read(asked(wav, outputs=(WantedOutput("embs"),)), CARD, LIMIT)


def test_samples_beyond_full_scale_are_taken_and_counted() -> None:
    before = loud_samples()
    signal = noise(720)
    UTTERANCES.window((signal,), CARD)
    assert loud_samples() == before
    signal[[3, 5, 7]] = 1.5, -3.0, 1.0
    UTTERANCES.window((signal,), CARD)
    assert loud_samples() == before + 2


@pytest.mark.parametrize(
    ("samples", "kind"),
    [
        (np.zeros(0), NoAudio),
        (noise(719), AudioTooShort),
        (np.zeros(16_000 * 60 + 1), AudioTooLong),
        (np.zeros(16_000), AudioWithoutVoice),
        (np.full(16_000, 0.5), AudioWithoutVoice),
        (np.full(16_000, np.nan), AudioNotFinite),
        (np.full(16_000, np.inf), AudioNotFinite),
        (noise(16_000) * 1e9, AudioOutOfRange),
    ],
)
def test_audio_that_is_none_is_refused_as_everywhere(
    samples: np.ndarray[Any, np.dtype[Any]], kind: type[SpeakerdError]
) -> None:
    with pytest.raises(kind):
        UTTERANCES.window((samples.astype(np.float32),), CARD)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2_000), st.lists(st.integers(-2, 14), max_size=8))
def test_rows_pick_frames_that_are_there_or_are_refused(samples: int, rows: list[int]) -> None:
    signal, picked = noise(samples), np.array(rows, np.int64)
    frames = max(0, 1 + (samples - 400) // 160)
    fits = len(rows) >= CARD.min_frames and all(0 <= row < frames for row in rows)
    try:
        window = WINDOWS.window((signal, picked), CARD)
    except AudioWithoutVoice:
        return
    except InvalidInput:
        assert not fits
        return
    assert fits
    assert np.array_equal(window.rows, picked)
    assert np.array_equal(window.pcm, signal)


def test_features_become_a_window_that_has_them_first_and_a_row_for_each_frame() -> None:
    for frames in (3, 4, 5, 200):
        features = np.random.default_rng(0).standard_normal((2, frames, 80)).astype(np.float32)
        for inputs, one in zip(
            FEATURES.read(asked(tensor("feats", features)), CARD, LIMIT), features, strict=True
        ):
            window = FEATURES.window(inputs, CARD)
            assert window.rows.tolist() == list(range(frames))
            assert np.array_equal(window.pcm[: one.size], one.reshape(-1))
            assert window.pcm.size == max(400, one.size)


def test_features_that_are_none_are_refused_by_name() -> None:
    good = np.random.default_rng(0).standard_normal((9, 80)).astype(np.float32)
    bad = good.copy()
    bad[4, 7] = np.nan
    cases: list[tuple[np.ndarray[Any, np.dtype[Any]], type[SpeakerdError]]] = [
        (good[:2], TensorInvalid),
        (np.resize(good, (LONGEST_FRAMES + 1, 80)), TensorInvalid),
        (bad, TensorInvalid),
        (np.zeros_like(good), AudioWithoutVoice),
        (np.repeat(good[:1], 9, 0), AudioWithoutVoice),
    ]
    for features, kind in cases:
        with pytest.raises(kind):
            FEATURES.window((features,), CARD)
    with pytest.raises(TensorInvalid, match=r"Expected \[-1,-1,80\], got \[1,9,40\]"):
        FEATURES.read(asked(tensor("feats", good[None, :, :40])), CARD, LIMIT)


def test_windows_beyond_a_minute_are_refused() -> None:
    rows = np.arange(LONGEST_FRAMES)
    samples = noise(16_000 * 60 + 720)
    assert WINDOWS.window((samples, rows), CARD).rows.size == LONGEST_FRAMES
    with pytest.raises(TensorInvalid, match="'rows' has"):
        WINDOWS.window((samples, np.arange(LONGEST_FRAMES + 1)), CARD)
    with pytest.raises(AudioTooLong):
        WINDOWS.window((noise(16_000 * 60 + 721), rows), CARD)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (utterances(noise(720), parameters={"sequence_id": 7}), "sequence"),
        (asked(tensor("WAV", noise(720)[None], parameters={"shared_memory_region": "x"})), "WAV"),
        (
            utterances(noise(720), outputs=(WantedOutput("EMBEDDINGS", {"classification": 3}),)),
            "classification of 'EMBEDDINGS'",
        ),
        (
            utterances(
                noise(720), outputs=(WantedOutput("EMBEDDINGS", {"shared_memory_region": "x"}),)
            ),
            "'EMBEDDINGS' in shared memory",
        ),
    ],
)
def test_extensions_that_are_not_there_are_named(request_: InferenceRequest, said: str) -> None:
    with pytest.raises(InferenceUnsupported, match=said):
        check_supported(request_)


def test_parameters_that_change_nothing_are_ignored() -> None:
    check_supported(
        utterances(noise(720), parameters={"priority": 1, "timeout": 5, "sequence_id": 0})
    )


def test_an_error_about_audio_says_of_which_utterance() -> None:
    assert in_utterance(NoAudio(), "WAV", 3).field == "WAV[3]"
    assert in_utterance(TensorInvalid("rows", "a problem"), "pcm", 3).field == "rows"
