"""What every call over audio is made of: its model, its window length, its pipeline."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from speakerd_server.calls.serving import LoadedModel, Serving
from speakerd_server.pipeline import Heard, Pipeline
from speakerd_server.session import Session, SessionSettings
from speakerd_server.values import AudioFormat
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

    @property
    def model_rate_hz(self) -> int:
        """Samples per second of the model."""
        return self.model.card.sample_rate_hz

    def session(self) -> Session:
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
            )
        )

    def live(self, serving: Serving, chunks: AsyncIterator[bytes]) -> Pipeline:
        """Hear a call that goes on."""
        return Pipeline(
            self.session(),
            self.model.engine,
            chunks,
            piece_bytes=self.audio_format.bytes_per_second,
            windows_in_flight=serving.settings.windows_in_flight,
            idle_timeout_s=serving.settings.idle_timeout_s,
        )

    async def whole(self, serving: Serving, chunks: AsyncIterator[bytes]) -> Heard:
        """Hear a whole recording; gives the final."""
        pipeline = Pipeline(
            self.session(),
            self.model.engine,
            chunks,
            piece_bytes=self.audio_format.bytes_per_second,
            windows_in_flight=serving.settings.windows_in_flight,
        )
        async with pipeline:
            async for heard in pipeline.heard():
                if heard.final:
                    return heard
        raise AssertionError("a pipeline ends with a final or an error")


def window_length(model: LoadedModel, wanted: int | None) -> int:
    """Give the window length of a call; raises SamplesPerChunkInvalid."""
    length = model.card.samples_per_chunk if wanted is None else wanted
    check_samples_per_chunk(length, model.card)
    return length
