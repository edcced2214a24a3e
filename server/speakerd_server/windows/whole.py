"""A whole signal that lies in memory, as one window: what a Slicer of -1 gives, not copied."""

from __future__ import annotations

from speakerd_server.errors import AudioTooLong, AudioTooShort, NoAudio
from speakerd_server.values import Float32, Window
from speakerd_server.windows.arithmetic import (
    LONGEST_WINDOW_SAMPLES,
    SAMPLE_RATE_HZ,
    frame_count,
    samples_of_frames,
)
from speakerd_server.windows.slicer import rows_in_order


def whole_window(samples: Float32, min_frames: int) -> Window:
    """Give the window over all of float32[n] samples at 16 kHz; it shares their memory.

    Args:
        samples: In [-1, 1], at most 60 s.
        min_frames: Fewest frames that the network takes.

    Raises:
        NoAudio: There are none.
        AudioTooShort: They have fewer frames.
        AudioTooLong: They are more than 60 s.
    """
    if not samples.size:
        raise NoAudio
    if samples.size > LONGEST_WINDOW_SAMPLES:
        limit_s = LONGEST_WINDOW_SAMPLES / SAMPLE_RATE_HZ
        raise AudioTooLong(limit_s, "split it into several utterances")
    frames = frame_count(samples.size)
    if frames < min_frames:
        raise AudioTooShort(samples.size, samples_of_frames(min_frames), SAMPLE_RATE_HZ)
    used = samples[: samples_of_frames(frames)]
    return Window(0, used, rows_in_order(frames), samples.size)
