"""What an engine process writes to a front end, cut into its answers."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol, cast

from speakerd_server.processes.windows_shared import RECORD, REFUSED, Record, read_record

_log = logging.getLogger(__name__)

_LONGEST_ERROR_BYTES = 1 << 20


class Answered(Protocol):
    """Who is told what an engine answers."""

    name: str
    """Of the engine."""

    def up(self, transport: asyncio.WriteTransport) -> None:
        """Take the connection into use."""

    def down(self) -> None:
        """Take note that it is lost."""

    def answered(self, record: Record, content: bytes) -> None:
        """Take an answer and what follows it; raises anything where it cannot be read."""


class EngineAnswers(asyncio.Protocol):
    """Reads an engine's answers and hands them on.

    Args:
        connection: Told of the engine's coming, its going and each answer.
    """

    def __init__(self, connection: Answered) -> None:
        self._connection = connection
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand the connection over."""
        self._transport = cast(asyncio.WriteTransport, transport)
        self._connection.up(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that it is lost."""
        self._connection.down()

    def data_received(self, data: bytes) -> None:
        """Hand on the answers that are whole; ends a connection that cannot be read."""
        self._received += data
        try:
            self._read()
        # The edge between two processes: bytes that are no answer can fail in any way.
        except Exception as error:  # noqa: BLE001
            cause = f"{type(error).__name__}: {error}"
            _log.error("engine unreadable", extra={"which": self._connection.name, "cause": cause})
            self._received.clear()
            if self._transport is not None:
                self._transport.abort()

    def _read(self) -> None:
        received, at = self._received, 0
        while len(received) - at >= RECORD.size:
            record = read_record(received, at)
            more_bytes = record.samples if record.kind == REFUSED else 0
            if more_bytes > _LONGEST_ERROR_BYTES:
                raise ValueError(f"an error of {more_bytes} bytes")
            end = at + RECORD.size + more_bytes
            if len(received) < end:
                break
            self._connection.answered(record, bytes(received[at + RECORD.size : end]))
            at = end
        del received[:at]
