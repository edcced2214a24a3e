from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from speakerd_server.calls.enrolling import Enrolment, Feedback, Wanted
from speakerd_server.calls.enrolments import LocalEnrolments
from speakerd_server.calls.hearing import Hearing
from speakerd_server.calls.models import Models, VersionPolicy
from speakerd_server.calls.serving import CallSettings, Serving
from speakerd_server.cards import BandThresholds, Calibration
from speakerd_server.errors import AudioWithoutVoice, DifferentSpeaker
from speakerd_server.quality.limits import QualitySettings
from speakerd_server.session_settings import SessionSettings
from speakerd_server.store.enrolment import EnrolmentStore
from speakerd_server.store.open_store import StoreSettings
from speakerd_server.values import AudioFormat, Band, Encoding, Utterance
from support.bundles import loaded
from support.driven import Call
from support.recordings import DOMAIN, recording
from support.signals import DIM, noise, pieces, splits, to_bytes

WIDE, NARROW = Band.WIDE, Band.NARROW
CALIBRATION = Calibration(
    0.5,
    0.4,
    "made for tests",
    several_below=0.97,
    bands=(
        BandThresholds("wide-narrow", 0.42, 0.33, "made for tests"),
        BandThresholds("narrow-narrow", 0.62, 0.52, "made for tests"),
    ),
)
PCM = AudioFormat(Encoding.PCM16LE, 16_000)
HEARING = Hearing(loaded(calibration=CALIBRATION), PCM, 800)
ANY_AUDIO = QualitySettings(minimum_snr_db=-20, maximum_clipping_share=1, minimum_level_dbfs=-100)
WANTED = Wanted(minimum_speech_s=0.5, limits=ANY_AUDIO, check_duplicates=True)
ALICE = np.eye(DIM)[0]


def at_cosine(cosine: float) -> NDArray[np.float64]:
    """Give float64[DIM] that is so much like ALICE."""
    vector: NDArray[np.float64] = cosine * ALICE + (1 - cosine**2) ** 0.5 * np.eye(DIM)[1]
    return vector


def heard(cosine: float, band: Band | None) -> Utterance:
    return Utterance(3 * at_cosine(cosine), 3, 0, 48_000, 48_000, 1.0, band)


@contextmanager
def serving(folder: Path, **bands: Band | None) -> Iterator[Serving]:
    """Open a store in which all named have ALICE's voice, recorded in these bands."""
    store = EnrolmentStore(StoreSettings(folder / "x.db"), [DOMAIN])
    for name, band in bands.items():
        plain = recording(1, DIM, HEARING.model.card.identity)
        store.enrol(DOMAIN, name, dataclasses.replace(plain, sum=3 * ALICE, band=band))
    enrolments = LocalEnrolments(store, 4)
    yield Serving(Models(VersionPolicy("first")), enrolments, CallSettings())
    asyncio.run(enrolments.close())


@pytest.mark.parametrize(
    ("enrolled", "band", "least"),
    [
        (WIDE, WIDE, 0.4),
        (WIDE, NARROW, 0.33),
        (NARROW, WIDE, 0.33),
        (NARROW, NARROW, 0.52),
        (None, NARROW, 0.4),
        (WIDE, None, 0.4),
    ],
)
def test_a_recording_is_unlike_the_earlier_ones_by_the_thresholds_of_both_bands(
    tmp_path: Path, enrolled: Band | None, band: Band | None, least: float
) -> None:
    async def feedback(open_store: Serving, cosine: float) -> Feedback:
        enrolment = Enrolment(open_store, DOMAIN, "alice", HEARING, WANTED)
        await enrolment.check()
        return enrolment.progress(heard(cosine, band)).feedback

    async def refused(open_store: Serving) -> None:
        enrolment = Enrolment(open_store, DOMAIN, "alice", HEARING, WANTED)
        with pytest.raises(DifferentSpeaker) as caught:
            await enrolment.store(heard(least - 0.01, band))
        assert caught.value.least == least

    with serving(tmp_path, alice=enrolled) as open_store:
        assert asyncio.run(feedback(open_store, least + 0.01)) is Feedback.OK
        assert asyncio.run(feedback(open_store, least - 0.01)) is Feedback.DIFFERENT_SPEAKER
        asyncio.run(refused(open_store))


def test_a_voice_is_a_duplicate_by_the_thresholds_of_both_bands(tmp_path: Path) -> None:
    async def duplicates(open_store: Serving, name: str, cosine: float) -> list[str]:
        enrolment = Enrolment(open_store, DOMAIN, name, HEARING, WANTED)
        stored = await enrolment.store(heard(cosine, NARROW))
        found = sorted(name for name, _ in stored.duplicates)
        await open_store.enrolments.delete(DOMAIN, name)
        return found

    with serving(tmp_path, wide=WIDE, narrow=NARROW, unknown=None) as open_store:
        assert asyncio.run(duplicates(open_store, "low", 0.41)) == []
        assert asyncio.run(duplicates(open_store, "middle", 0.45)) == ["wide"]
        assert asyncio.run(duplicates(open_store, "high", 0.55)) == ["unknown", "wide"]
        assert asyncio.run(duplicates(open_store, "same", 0.65)) == ["narrow", "unknown", "wide"]


def test_a_recording_without_speech_is_refused_in_words_that_fit(tmp_path: Path) -> None:
    for windows, words in ((0, "no speech was heard"), (2, r"nothing varies in the audio \(2 ")):
        silence = dataclasses.replace(
            heard(0.5, None), window_count=0, windows_without_variance=windows
        )
        with serving(tmp_path) as open_store:
            enrolment = Enrolment(open_store, DOMAIN, "bob", HEARING, WANTED)
            with pytest.raises(AudioWithoutVoice, match=words):
                asyncio.run(enrolment.store(silence))


@settings(max_examples=30, deadline=None)
@given(st.data(), st.booleans())
def test_feedback_does_not_depend_on_how_the_audio_is_split(
    data: st.DataObject, late: bool
) -> None:
    signal = np.concatenate([noise(5_000), 0.02 * noise(5_000, 1), np.zeros(700, np.float32)])
    whole = to_bytes(signal.astype(np.float32), Encoding.PCM16LE)
    told = []
    for at, is_late in (([], False), (data.draw(splits(len(whole))), late)):
        call = Call(SessionSettings(PCM, HEARING.model.card, 800), is_late)
        final = call.run(pieces(whole, at))
        enrolment = Enrolment.__new__(Enrolment)
        enrolment.hearing, enrolment.wanted, enrolment._earlier = HEARING, WANTED, None
        told.append([enrolment.progress(one) for one in [*call.updates, final]])
    assert told[0] == told[1]
    kinds = {one.feedback for one in told[0]}
    assert kinds == {Feedback.TOO_SHORT, Feedback.MULTIPLE_SPEAKERS}
