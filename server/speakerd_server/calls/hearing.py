"""What every call over audio is made of: its model, its window length, its pipeline."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

from speakerd_server import metrics
from speakerd_server.calls.models import LoadedModel
from speakerd_server.calls.networks import takes_features
from speakerd_server.calls.serving import Serving
from speakerd_server.errors import FieldInvalid
from speakerd_server.pipeline import Heard, Judge, Mark, Pipeline, drop
from speakerd_server.session import Session
from speakerd_server.session_settings import SessionSettings
from speakerd_server.values import AudioFormat, Float32, Utterance, Window
from speakerd_server.windows.arithmetic import check_samples_per_chunk


@dataclass(frozen=True, slots=True, eq=False)
class Hearing:
    """How one signal is heard: format, model and window length, checked."""

    model: LoadedModel
    """Embeds the windows."""
    audio_format: AudioFormat
    """Of the bytes."""
    samples_per_chunk: int
    """-1 or the window length at the model's rate."""
    update_interval_s: float = 0.0
    """Least audio between two updates."""
    maximum_speech_samples: int | None = None
    """At the model's rate: the signal is cut there."""
    maximum_signal_s: float | None = None
    """Longer audio ends with AudioTooLong."""
    gated: bool = False
    """Whether speech alone is heard."""
    every_window: bool = False
    """Whether windows without an update give one that is not due."""

    @property
    def model_rate_hz(self) -> int:
        """Samples per second of the model."""
        return self.model.card.sample_rate_hz

    def session(self, serving: Serving) -> Session:
        """Begin one signal."""
        rate_hz = self.model_rate_hz
        limit_s = self.maximum_signal_s
        return Session(
            SessionSettings(
                audio_format=self.audio_format,
                card=self.model.card,
                samples_per_chunk=self.samples_per_chunk,
                update_interval_samples=round(self.update_interval_s * rate_hz),
                maximum_speech_samples=self.maximum_speech_samples,
                maximum_signal_samples=None if limit_s is None else round(limit_s * rate_hz),
                gate=serving.gate_rule if self.gated else None,
                every_window=self.every_window,
            )
        )

    def seconds(self, heard: Heard) -> tuple[float, float, int]:
        """Give audio received and net speech in seconds, and the windows averaged."""
        return (
            heard.received_samples / self.audio_format.sample_rate_hz,
            heard.utterance.speech_samples / self.model_rate_hz,
            heard.utterance.window_count,
        )

    def live(self, serving: Serving, chunks: AsyncIterator[bytes | Mark]) -> Pipeline:
        """Hear a call that goes on."""
        return Pipeline(
            self.session(serving),
            self.model.engine,
            chunks,
            piece_bytes=self.audio_format.bytes_per_second,
            windows_in_flight=serving.settings.windows_in_flight,
            idle_timeout_s=serving.settings.idle_timeout_s,
            gate=serving.gate,
        )

    @property
    def _piece_bytes(self) -> int:
        """Bytes that are taken at once, without holding other calls up: well below 1 ms of work."""
        resampled = self.audio_format.sample_rate_hz != self.model_rate_hz
        return self.audio_format.bytes_per_second * (1 if resampled else 4)

    async def whole(
        self,
        serving: Serving,
        content: bytes | Iterator[bytes],
        told: Callable[[Utterance], Awaitable[None]] | None = None,
    ) -> Heard:
        """Hear a whole recording, all at hand or read piece by piece; gives the final.

        `told` is called after every full window. Raises what session, gate, engine and `told`
        raise, and reading.

        What a pipeline does for a call that goes on needs a task of its own; here all bytes are
        there, so that embeddings are waited for only when as many windows are out as may.
        """
        session, limit = self.session(serving), serving.settings.windows_in_flight
        judge = Judge(serving.gate)
        out: deque[tuple[Window, asyncio.Future[Float32]]] = deque(maxlen=limit)
        is_long = not isinstance(content, bytes) or len(content) > self._piece_bytes
        pieces = _pieces(content, self._piece_bytes)
        try:
            for piece in pieces:
                step = session.push(piece) if piece is not None else session.end()
                step = await judge.windows(session, step)
                for window in step.windows:
                    if len(out) == limit:
                        await _absorb(session, out, told)
                    out.append((window, await self.model.engine.submit_offline(window)))
                if piece is not None and is_long:
                    await asyncio.sleep(0)  # other calls go on between the pieces of a long one
            while out:
                await _absorb(session, out, told)
        finally:
            for _, embedding in out:
                drop(embedding)
            metrics.WINDOWS_WITHOUT_VARIANCE.inc(session.utterance.windows_without_variance)
        received = session.received_samples
        return Heard(session.utterance, True, received, asyncio.get_running_loop().time())


async def _absorb(
    session: Session,
    out: deque[tuple[Window, asyncio.Future[Float32]]],
    told: Callable[[Utterance], Awaitable[None]] | None,
) -> None:
    window, embedding = out[0]
    utterances = session.absorb_embedding(window, await embedding)
    out.popleft()
    if told is not None:
        for utterance in utterances:
            await told(utterance)


def _pieces(content: bytes | Iterator[bytes], piece_bytes: int) -> Iterator[bytes | None]:
    """Cut a recording, so that no piece holds the event loop for long; None is its end."""
    if not isinstance(content, bytes):
        yield from content
    elif len(content) <= piece_bytes:
        yield content
    else:
        for start in range(0, len(content), piece_bytes):
            yield content[start : start + piece_bytes]
    yield None


def window_length(model: LoadedModel, wanted: int | None) -> int:
    """Give the window length of a call.

    Raises SamplesPerChunkInvalid, and FieldInvalid for a model that takes no audio.
    """
    if takes_features(model.card):
        raise FieldInvalid("model", f"{model.reference} takes features; audio is for its bundle")
    length = model.card.samples_per_chunk if wanted is None else wanted
    check_samples_per_chunk(length, model.card)
    return length
