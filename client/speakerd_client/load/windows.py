"""Which message completes which window: the daemon's window arithmetic, seen from the wire.

At the model's rate window k ends at sample 160 (kT + T - 1) + 400 and the next one begins 160 T
after it, with T = 1 + (samples_per_chunk - 400) // 160 frames (the seed runtime's arithmetic). An
update says by `committed_samples` up to where on the wire the windows are done: 160 T (k + 1)
samples at the model's rate, brought to the wire's and rounded down.
"""

from __future__ import annotations

from dataclasses import dataclass

from speakerd_client.results import CallSettings

FRAME_SAMPLES = 400
SHIFT_SAMPLES = 160
_NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class WindowClock:
    """Window arithmetic of one stream. Counts are of samples, at the model's rate or the wire's."""

    frames: int
    """T; 0: there are no windows before the end (one over the whole signal)."""
    model_rate_hz: int
    """Of the network."""
    wire_rate_hz: int
    """Of the audio as it is sent."""
    interval_samples: int = 0
    """Least audio between two updates, at the model's rate."""
    maximum_samples: int | None = None
    """Where the policy settles the decision, at the model's rate; None: nowhere."""

    @property
    def hop_s(self) -> float:
        """Seconds from one window to the next; 0 without windows."""
        return SHIFT_SAMPLES * self.frames / self.model_rate_hz

    def end_samples(self, window: int) -> int:
        """Give where window `window` ends by the frames' count, at the model's rate."""
        return SHIFT_SAMPLES * self.frames * (window + 1)

    def needed_samples(self, window: int) -> int:
        """Give the wire samples that window `window` needs, the resampler's delay left aside.

        n wire samples make n * model / wire at the model's rate, rounded half up; so this is the
        fewest that make the window's last sample. The filter's delay is the daemon's lag.
        """
        model_samples = self.end_samples(window) + FRAME_SAMPLES - SHIFT_SAMPLES
        if self.wire_rate_hz == self.model_rate_hz:
            return model_samples
        return -(-(2 * model_samples - 1) * self.wire_rate_hz // (2 * self.model_rate_hz))

    def exists(self, window: int) -> bool:
        """Tell whether window `window` is full before the policy settles the decision."""
        if not self.frames:
            return False
        model_samples = self.end_samples(window) + FRAME_SAMPLES - SHIFT_SAMPLES
        return self.maximum_samples is None or model_samples <= self.maximum_samples

    def committed_samples(self, window: int) -> int:
        """Give what the update of window `window` says, at the wire's rate."""
        return self.end_samples(window) * self.wire_rate_hz // self.model_rate_hz

    def window_of(self, committed_samples: int) -> int | None:
        """Give the window whose update says so; None when none does."""
        hop = SHIFT_SAMPLES * self.frames * self.wire_rate_hz
        if not hop or committed_samples < 1:
            return None
        window = -(-committed_samples * self.model_rate_hz // hop) - 1
        return window if self.committed_samples(window) == committed_samples else None


def clock_of(settings: CallSettings, wire_rate_hz: int) -> WindowClock:
    """Make the clock of a call from the settings that the daemon has opened it with."""
    model_rate_hz = settings.model_sample_rate_hz
    most_s = settings.policy.maximum_speech_s
    frames = 1 + (settings.samples_per_chunk - FRAME_SAMPLES) // SHIFT_SAMPLES
    return WindowClock(
        frames=max(0, frames),
        model_rate_hz=model_rate_hz,
        wire_rate_hz=wire_rate_hz,
        interval_samples=round(settings.update_interval_s * model_rate_hz),
        maximum_samples=None if most_s is None else round(most_s * model_rate_hz),
    )


class WindowBook:
    """Of one stream: when the message that completed a window was sent, until its update comes."""

    def __init__(self, clock: WindowClock, message_samples: int) -> None:
        self._clock, self._message_samples = clock, message_samples
        self._window = self._updated_samples = 0
        self._sent: dict[int, float] = {}
        self.next_message = self._completing()
        """Number, from 0, of the message that completes the next window."""

    @property
    def unanswered(self) -> tuple[float, ...]:
        """When the windows were completed whose update has not come."""
        return tuple(self._sent.values())

    def sent(self, at_s: float) -> list[int]:
        """Message `next_message` is handed over now; gives the windows whose updates are due."""
        message, due = self.next_message, []
        while self.next_message == message:
            end_samples = self._clock.end_samples(self._window)
            if end_samples - self._updated_samples >= self._clock.interval_samples:
                self._updated_samples = end_samples
                self._sent[self._window] = at_s
                due.append(self._window)
            self._window += 1
            self.next_message = self._completing()
        return due

    def answered(self, committed_samples: int) -> float | None:
        """An update came; gives when its window was completed.

        None: no such window was completed, or its update had come before.
        """
        window = self._clock.window_of(committed_samples)
        return None if window is None else self._sent.pop(window, None)

    def _completing(self) -> int:
        if not self._clock.exists(self._window):
            return _NEVER
        return (self._clock.needed_samples(self._window) - 1) // self._message_samples
