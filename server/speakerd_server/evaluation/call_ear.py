"""Hears joined recordings by the daemon's own session: gate, windows, running mean."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speakerd_server.cards import Bundle
from speakerd_server.engine.batch import embed_windows
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.errors import AudioWithoutVoice, SpeakerdError
from speakerd_server.gate.frames import GateState, first_state
from speakerd_server.gate.network import BATCH_FRAMES, GateNetwork
from speakerd_server.gate.settings import SegmentRule
from speakerd_server.offline.telephone import LINE_FORMAT, to_line
from speakerd_server.session import Session
from speakerd_server.session_settings import SessionSettings
from speakerd_server.values import AudioFormat, Encoding, Float32, Step, Utterance

Float64 = NDArray[np.float64]
BATCH_WINDOWS = 8


@dataclass(frozen=True, slots=True, eq=False)
class HeardCall:
    """What was known of one call after each of its full windows."""

    seconds: Float64
    """float64[k], rising: net speech."""
    means: Float64
    """float64[k, dim]: running mean, not length-normalised."""


class CallEar:
    """Hears whole calls; any thread may call.

    Args:
        bundle: The model.
        samples_per_chunk: Window length at the model's rate; None: the card's.
        gate: When frames are speech; None: everything is heard.
        calls_by_telephone: Hear calls over a simulated line, mu-law at 8 kHz.
        enrolments_by_telephone: The same for what is enrolled.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        samples_per_chunk: int | None = None,
        gate: SegmentRule | None,
        calls_by_telephone: bool = False,
        enrolments_by_telephone: bool = False,
    ) -> None:
        self.card = bundle.card
        self.rate_hz = bundle.card.sample_rate_hz
        self.gate = gate
        self.samples_per_chunk = samples_per_chunk or bundle.card.samples_per_chunk
        self._by_telephone = {True: calls_by_telephone, False: enrolments_by_telephone}
        self._backend = OnnxRuntimeCpu(bundle)
        self._own = threading.local()

    def hear(self, recordings: Iterator[Float32], maximum_s: int) -> HeardCall | None:
        """Join recordings, float32[n] each, until there is so much speech; None: too little.

        Takes no more of them than it needs. Raises EngineFailed.
        """
        one = _Ear(self, maximum_s * self.rate_hz, self._by_telephone[True])
        for samples in recordings:
            one.push(samples)
            if one.session.settled:
                one.end()
                return one.heard()
        return None

    def mean(self, recordings: Sequence[Float32]) -> Float64:
        """Give the mean float64[dim] of recordings joined, the last window with them.

        Raises:
            InvalidInput: They are too short, or there is no voice in them.
            EngineFailed: The engine gave no embedding.
        """
        one = _Ear(self, None, self._by_telephone[False])
        for samples in recordings:
            one.push(samples)
        utterance = one.end()
        if not utterance.window_count:
            raise AudioWithoutVoice(utterance.windows_without_variance)
        return utterance.mean

    def judge(self, frames: Float32, state: GateState) -> tuple[Float32, GateState]:
        """Give float32[n] probabilities of speech of frames, float32[n, 576], and the new state."""
        if not hasattr(self._own, "network"):
            self._own.network = GateNetwork()
        network: GateNetwork = self._own.network
        judged = []
        for start in range(0, len(frames), BATCH_FRAMES):
            features = network.encode(frames[start : start + BATCH_FRAMES])
            probabilities, state = network.judge(features, state)
            judged.append(probabilities)
        return np.concatenate(judged), state

    def embed(self, session: Session, step: Step) -> Iterator[Utterance]:
        """Embed a step's windows, absorb them, and give what is known after each."""
        for start in range(0, len(step.windows), BATCH_WINDOWS):
            windows = list(step.windows[start : start + BATCH_WINDOWS])
            outcomes = embed_windows(self._backend, windows, self.card.dim)
            for window, outcome in zip(windows, outcomes, strict=True):
                if isinstance(outcome, SpeakerdError):
                    raise outcome
                yield from session.absorb_embedding(window, outcome)


class _Ear:
    """One signal."""

    def __init__(self, ear: CallEar, maximum_samples: int | None, by_telephone: bool) -> None:
        self._ear, self._by_telephone = ear, by_telephone
        wide = AudioFormat(Encoding.FLOAT32LE, ear.rate_hz)
        self.session = Session(
            SessionSettings(
                audio_format=LINE_FORMAT if by_telephone else wide,
                card=ear.card,
                samples_per_chunk=ear.samples_per_chunk,
                maximum_speech_samples=maximum_samples,
                gate=ear.gate,
                every_window=True,
            )
        )
        self._state = first_state()
        self._looks: list[Utterance] = []

    def push(self, samples: Float32) -> None:
        content = samples.astype("<f4").tobytes()
        if self._by_telephone:
            content = to_line(samples, self._ear.rate_hz)
        self._take(self.session.push(content))

    def end(self) -> Utterance:
        self._take(self.session.end())
        return self.session.utterance

    def heard(self) -> HeardCall:
        looks = [
            one
            for before, one in zip([None, *self._looks], self._looks, strict=False)
            if before is None or one.window_count > before.window_count
        ]
        seconds = [one.speech_samples / self._ear.rate_hz for one in looks]
        means = [one.mean for one in looks]
        return HeardCall(np.array(seconds), np.array(means).reshape(len(means), -1))

    def _take(self, step: Step) -> None:
        while step.gate_frames is not None:
            probabilities, self._state = self._ear.judge(step.gate_frames, self._state)
            step = self.session.absorb_gate(probabilities)
        updates = [*step.updates, *self._ear.embed(self.session, step)]
        self._looks += [one for one in updates if one.window_count]
