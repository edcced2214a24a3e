"""How many frames and samples a window has: the seed runtime's arithmetic, in whole numbers.

Source: WeSpeaker, runtime/core/speaker/speaker_engine.cc, with Kaldi's frames without edge
padding (snip_edges): 25 ms frames every 10 ms at 16 kHz.
"""

from __future__ import annotations

from speakerd_server.cards import Card
from speakerd_server.errors import SamplesPerChunkInvalid

SAMPLE_RATE_HZ = 16_000
"""Of every model so far, and of the numbers below."""
FRAME_SAMPLES = 400
SHIFT_SAMPLES = 160
WHOLE_SIGNAL = -1
"""The samples_per_chunk that asks for one window over everything."""
LONGEST_WINDOW_SAMPLES = 60 * SAMPLE_RATE_HZ
"""Largest samples_per_chunk, and the longest stream that may be one window."""


def frame_count(samples: int) -> int:
    """Give the frames that lie wholly inside so many samples: 1 + (n - 400) // 160, or 0."""
    return max(0, 1 + (samples - FRAME_SAMPLES) // SHIFT_SAMPLES)


def samples_of_frames(frames: int) -> int:
    """Give the samples that so many consecutive frames (at least 1) span."""
    return SHIFT_SAMPLES * (frames - 1) + FRAME_SAMPLES


def frames_per_window(samples_per_chunk: int) -> int:
    """Give the frames of a full window: 198 for 32000, 298 for 48000."""
    return frame_count(samples_per_chunk)


def hop_samples(samples_per_chunk: int) -> int:
    """Give the samples from one window's start to the next one's: 31680 for 32000."""
    return SHIFT_SAMPLES * frames_per_window(samples_per_chunk)


def lowest_samples_per_chunk(card: Card) -> int:
    """Give the smallest window the network can take, in samples: 720 for 3 frames."""
    return samples_of_frames(card.min_frames)


def check_samples_per_chunk(samples_per_chunk: int, card: Card) -> None:
    """Raise SamplesPerChunkInvalid unless it is -1 or a length that the card's network takes."""
    lowest = lowest_samples_per_chunk(card)
    if samples_per_chunk == WHOLE_SIGNAL:
        return
    if not lowest <= samples_per_chunk <= LONGEST_WINDOW_SAMPLES:
        raise SamplesPerChunkInvalid(samples_per_chunk, lowest, LONGEST_WINDOW_SAMPLES)
