"""What a device computes one model with: a backend for each worker, and one for a lone window."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np

from speakerd_server import scheduling
from speakerd_server.engine.backend import Backend
from speakerd_server.engine.batch import embed_windows
from speakerd_server.engine.cost import Cost, measure
from speakerd_server.errors import ModelRefused, SpeakerdError
from speakerd_server.values import Window

_WIDE_PAYS = 0.95
"""A wide backend is kept when it takes no more than this share of a narrow one's time."""

_LEAST_S = 1e-6
"""No batch is measured to take less: speeds are divided by it."""

_MOST_LOOKS = 100
"""At two clocks in a row, until nothing has come between."""


class Watch(Protocol):
    """Knows whether a device that can go away is there."""

    @property
    def away(self) -> str | None:
        """Why it is not; None where it is."""

    def tell(self, told: Callable[[str | None], None]) -> None:
        """Call with `away` whenever it changes, on any thread."""

    def close(self) -> None:
        """Watch no more."""


@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """The backends of one model on one device."""

    dim: int
    """Length of an embedding."""
    narrow: Sequence[Backend]
    """One for each worker of the device; they may be one and the same that all can use at once."""
    wide: Backend | None = None
    """Takes every processor for one window, while nothing else is at work."""
    side_by_side: bool = True
    """Whether the narrow ones compute at the same time; else they only take turns on the device."""
    watch: Watch | None = None
    """Of a device that can go away and come back."""

    def close(self) -> None:
        """Close every backend."""
        if self.watch is not None:
            self.watch.close()
        for backend in {id(one): one for one in (*self.narrow, self.wide)}.values():
            if backend is not None:
                backend.close()


def warmed(
    lanes: Lanes,
    name: str,
    samples: int,
    most_windows: int,
    most_frames: int,
    longest_s: float,
    *,
    gives_way: bool = False,
) -> tuple[Lanes, Cost]:
    """Run every backend on noise, measure what batches cost, and leave out what does not pay.

    Args:
        lanes: Not in use yet.
        name: Of the model, in errors.
        samples: Length of the windows to expect, at least 400.
        most_windows: Most windows of a batch.
        most_frames: Most frames of a batch of several windows.
        longest_s: Longest batch of several windows.
        gives_way: Whether others, who are served, come first.

    Returns:
        The lanes to use, and the cost of a batch on one of them.

    Raises:
        ModelRefused: A backend gives no embedding of noise: an error, another length, NaN, zeros.
    """
    with scheduling.forward():
        window = _noise(samples)
        most = max(1, min(most_windows, most_frames // window.rows.size))
        return _warmed(lanes, name, window, most, longest_s, gives_way)


def _warmed(
    lanes: Lanes, name: str, window: Window, most: int, longest_s: float, gives_way: bool
) -> tuple[Lanes, Cost]:
    first, others = lanes.narrow[0], lanes.narrow[1:]

    def seconds(backend: Backend, windows: int) -> float:
        return _seconds(backend, window, windows, lanes.dim, name)

    begin = scheduling.give_way if gives_way else None
    with ThreadPoolExecutor(len(lanes.narrow), "warming", begin) as pool:
        list(pool.map(lambda one: seconds(one, 1), lanes.narrow))
        cost = pool.submit(measure, partial(seconds, first), most, longest_s).result()
        list(pool.map(lambda one: seconds(one, cost.best_windows), others))
    if lanes.wide is None:
        return lanes, cost
    # In turns, so that a moment in which the machine does something else decides nothing.
    pairs = [(seconds(lanes.wide, 1), seconds(first, 1)) for _ in range(6)]
    if min(wide for wide, _ in pairs) <= _WIDE_PAYS * min(narrow for _, narrow in pairs):
        return lanes, cost
    lanes.wide.close()
    return replace(lanes, wide=None), cost


def _seconds(backend: Backend, window: Window, windows: int, dim: int, name: str) -> float:
    begun_s = _own_clock_s()
    for outcome in embed_windows(backend, [window] * windows, dim):
        if isinstance(outcome, SpeakerdError):
            raise ModelRefused(name, f"it gives no embedding of noise: {outcome}") from outcome
    return max(_LEAST_S, _own_clock_s() - begun_s)


def _own_clock_s() -> float:
    """Give a clock that stands while others have the processor.

    A batch costs what it takes, however much else goes on while that is measured: with a busy
    machine's time, the batch size would be chosen by chance.
    """
    delayed_s = scheduling.delayed_s()
    for _ in range(_MOST_LOOKS):
        now_s = time.perf_counter()
        before_s, delayed_s = delayed_s, scheduling.delayed_s()
        if delayed_s == before_s:
            break  # else it had to wait between the two looks, and they do not belong together
    return now_s - delayed_s


def _noise(samples: int) -> Window:
    noise = 0.1 * np.random.default_rng(0).standard_normal(samples)
    return Window(0, noise.astype(np.float32), np.arange(1 + (samples - 400) // 160), samples)
