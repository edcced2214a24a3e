"""A session driven by hand: what a pipeline does, without an engine and without waiting."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from speakerd_server.session import Session
from speakerd_server.session_settings import SessionSettings
from speakerd_server.values import Float32, Step, Utterance, Window
from support.signals import embed


def voice(frames: Float32) -> Float32:
    """Give float32[n], the probabilities of speech of float32[n, 576]: loud frames have a voice."""
    return np.asarray(frames[:, 64:].std(axis=1) > 0.1, np.float32)


class Call:
    """Drives a session; embeddings come back at once, or only when the signal has ended."""

    def __init__(self, wanted: SessionSettings, late: bool = False) -> None:
        self.session = Session(wanted)
        self.late = late
        self.windows: list[Window] = []
        self.waiting: list[Window] = []
        self.updates: list[Utterance] = []

    def run(self, chunks: Iterable[bytes]) -> Utterance:
        for chunk in chunks:
            self.take(self.session.push(chunk))
        self.take(self.session.end())
        self.absorb()
        return self.session.utterance

    def take(self, step: Step) -> None:
        if step.gate_frames is not None:
            step = self.session.absorb_gate(voice(step.gate_frames))
        self.updates += step.updates
        self.windows += step.windows
        self.waiting += step.windows
        if not self.late:
            self.absorb()

    def absorb(self) -> None:
        while self.waiting:
            window = self.waiting.pop(0)
            self.updates += self.session.absorb_embedding(window, embed(window))


def heard(wanted: SessionSettings, whole: bytes) -> tuple[Utterance, Call]:
    call = Call(wanted)
    return call.run([whole]), call


def assert_same(one: Utterance, other: Utterance) -> None:
    assert np.array_equal(one.sum, other.sum)
    for field in set(Utterance.__slots__) - {"sum"}:
        assert getattr(one, field) == getattr(other, field), field
