"""What a batch costs, measured when a model is loaded, and the batch size that follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

_WORTH = 0.01
"""A larger batch must save more than this share of a window's time to be worth its longer wait."""
_TIMES = 2
"""Each size is timed so often; the shortest time counts, for a machine only ever adds to it."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Time of a batch of full windows: about fixed_s + windows * window_s."""

    measured: tuple[tuple[int, float], ...]
    """Windows of a batch and its seconds, growing."""
    best_windows: int
    """The smallest batch measured whose windows take no more than 1 % longer than in any other."""
    fixed_s: float
    """Seconds that every batch takes, however few windows are in it."""
    window_s: float
    """Seconds that each window adds."""


def measure(seconds_of: Callable[[int], float], most_windows: int, longest_s: float) -> Cost:
    """Time batches of 1, 2, 4, ... windows and choose.

    Args:
        seconds_of: Computes a batch of so many windows and gives its seconds.
        most_windows: Largest batch that may be chosen.
        longest_s: Batches that take longer are not chosen, unless even one window does.
    """
    measured: list[tuple[int, float]] = []
    for windows in _sizes(most_windows):
        seconds = min(seconds_of(windows) for _ in range(_TIMES))
        if measured and (seconds > longest_s or _pays_no_more(measured, windows, seconds)):
            break
        measured.append((windows, seconds))
    return choose(measured)


def choose(measured: Sequence[tuple[int, float]]) -> Cost:
    """Choose from windows and seconds of batches, growing, the first of one window."""
    each_s = [seconds / windows for windows, seconds in measured]
    at = next(n for n, one in enumerate(each_s) if one <= min(each_s) * (1 + _WORTH))
    (_, first_s), (most, last_s) = measured[0], measured[-1]
    window_s = max(0.0, (last_s - first_s) / (most - 1)) if most > 1 else first_s
    return Cost(
        measured=tuple(measured),
        best_windows=measured[at][0],
        fixed_s=max(0.0, first_s - window_s),
        window_s=window_s,
    )


def _sizes(most_windows: int) -> list[int]:
    powers = [1 << n for n in range(most_windows.bit_length()) if 1 << n <= most_windows]
    return powers if powers[-1] == most_windows else [*powers, most_windows]


def _pays_no_more(measured: list[tuple[int, float]], windows: int, seconds: float) -> bool:
    """Tell whether neither this size nor the one before it beats those before."""
    if len(measured) < 2:
        return False
    least_s = min(before / size for size, before in measured[:-1])
    (size, before) = measured[-1]
    return min(before / size, seconds / windows) > least_s * (1 - _WORTH)
