"""A backend whose batches are embedded by a server elsewhere."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Protocol

import grpc
import numpy as np

from speakerd_server.engine.backend import plain_buffers
from speakerd_server.engine.long_windows import buffer_samples
from speakerd_server.engine.remote_client import RemoteClient
from speakerd_server.engine.remote_settings import RemoteSettings
from speakerd_server.errors import RemoteEngineUnavailable
from speakerd_server.values import Float32, Int64

_OF_THE_BATCH = frozenset(
    (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INTERNAL,
    )
)
"""Failures of what was asked, which other windows need not have."""
_LEAST_S = 0.001


class Availability(Protocol):
    """Whether the server is there, as is known now."""

    @property
    def away(self) -> str | None:
        """Why it is not; None where it is."""

    def doubted(self) -> None:
        """Take note that a batch had no answer; never blocks."""


class RemoteLane:
    """Batches of one worker, on one connection.

    Args:
        client: The connection; closed with the lane.
        settings: Deadline and retries.
        most_windows: Of one request.
        availability: Asked before every batch.
        sleep: Waits between tries, in seconds.
    """

    def __init__(
        self,
        client: RemoteClient,
        settings: RemoteSettings,
        most_windows: int,
        availability: Availability,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client, self._settings, self._most = client, settings, most_windows
        self._availability, self._sleep = availability, sleep

    def buffers(self, windows: int, samples: int, frames: int) -> tuple[Float32, Int64]:
        """Give plain memory, of one N for all usual windows of T frames.

        A server that batches requests of one shape alone then takes all of them together.
        """
        return plain_buffers(windows, max(samples, buffer_samples(frames)), frames)

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        """Embed a batch; see `Backend.embed`.

        Raises:
            RemoteEngineUnavailable: The server is away, or did not answer in time.
            grpc.RpcError: It refuses this batch.
            RemoteAnswerWrong: Its answer is none.
        """
        starts = range(0, len(pcm), self._most)
        parts = [slice(start, start + self._most) for start in starts]
        return np.concatenate([self._asked(pcm[part], rows[part]) for part in parts])

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _asked(self, pcm: Float32, rows: Int64) -> Float32:
        settings, address = self._settings, self._client.address
        away = self._availability.away
        if away is not None:
            raise RemoteEngineUnavailable(address, away)
        end_s = time.monotonic() + settings.deadline_ms / 1000
        wait_s = settings.backoff_ms / 1000
        for left in range(settings.retries, -1, -1):
            try:
                rest_s = max(_LEAST_S, end_s - time.monotonic())
                return self._client.embed(pcm, rows, rest_s)
            except grpc.RpcError as error:
                if error.code() in _OF_THE_BATCH:
                    raise
                pause_s = wait_s * random.uniform(0.5, 1.5)
                late = time.monotonic() + pause_s >= end_s
                if error.code() is not grpc.StatusCode.UNAVAILABLE or not left or late:
                    self._availability.doubted()
                    raise RemoteEngineUnavailable(address, cause_of(error)) from error
            self._sleep(pause_s)
            wait_s *= 2
        raise AssertionError("the last try returns or raises")


def cause_of(error: grpc.RpcError) -> str:
    """Give CODE: what was said, in one line of bounded length."""
    said = " ".join((error.details() or "it says no more").split())
    return f"{error.code().name}: {said}"[:300]
