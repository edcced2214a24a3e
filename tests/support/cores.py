"""Which cores a side of a bench may use: the measured side its own, the load generator others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Cores:
    """How the cores of this host are shared out."""

    name: str
    measured: frozenset[int]
    """Of the daemon and of the bare engine."""
    generator: frozenset[int]
    """Of the load."""


def layouts() -> tuple[Cores, ...]:
    """Give the layouts of a host: the load on a core of its own, and everything on all cores."""
    every = sorted(os.sched_getaffinity(0))
    together = Cores("together", frozenset(every), frozenset(every))
    if len(every) < 2:
        return (together,)
    return (Cores("apart", frozenset(every[:-1]), frozenset(every[-1:])), together)


@contextmanager
def using(cores: frozenset[int]) -> Iterator[None]:
    """Run the body, and the threads and processes that it starts, on some cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
