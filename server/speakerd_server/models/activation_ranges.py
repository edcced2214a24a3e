"""What a network's activations look like on real windows: their extremes and channels' means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from speakerd_server.models.quantizable import feeds, with_outputs
from speakerd_server.values import Float32, Window

_DIGITS = 4

Float64 = NDArray[np.float64]


@dataclass(slots=True)
class Activation:
    """One value of the graph over all windows."""

    low: float
    """Least number seen, at most 0."""
    high: float
    """Greatest number seen, at least 0."""
    sums: Float64
    """float64[C]: of each channel, over places and windows."""
    places: int
    """How many numbers of a channel are in its sum."""

    @property
    def channel_means(self) -> Float64:
        """float64[C]: mean of each channel."""
        means: Float64 = self.sums / self.places
        return means

    def range(self) -> tuple[float, float]:
        """Give the range to round in: all that was seen.

        Both ends have few digits, so that the last bits of a processor do not decide.
        """
        return _few_digits(self.low), _few_digits(self.high)

    def joined(self, other: Activation) -> Activation:
        """Give what was seen in both."""
        return Activation(
            min(self.low, other.low),
            max(self.high, other.high),
            self.sums + other.sums,
            self.places + other.places,
        )


def look_at(array: Float32) -> Activation:
    """Look at one window's float32[1, C, ...]."""
    channels = array.reshape(array.shape[1], -1)
    sums = channels.sum(axis=1, dtype=np.float64)
    return Activation(
        min(0.0, float(array.min())), max(0.0, float(array.max())), sums, channels.shape[1]
    )


def observe(
    model: ModelProto, names: Sequence[str], windows: Sequence[Window], done: Callable[[int], None]
) -> dict[str, Activation]:
    """Run windows through a float graph and look at these values.

    Args:
        model: From pcm and rows, as prepared.
        names: Of values float32[1, C, ...].
        windows: Of real speech, at least one.
        done: Told of each window run.
    """
    session = with_outputs(model, names)
    seen: dict[str, Activation] = {}
    for window in windows:
        arrays = session.run(list(names), feeds(window))
        for name, array in zip(names, arrays, strict=True):
            one = look_at(array)
            seen[name] = seen[name].joined(one) if name in seen else one
        done(1)
    return seen


def _few_digits(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")
