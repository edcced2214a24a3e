"""A page of shared memory on which an engine tells front ends how busy it is."""

from __future__ import annotations

import struct
import time

from speakerd_server.processes.arena import mapped, shared_file

_STATUS = struct.Struct("<qd?")
# Windows that wait or are computed; time.monotonic() since when the first live one waits, 0: none;
# whether the device is away.


class StatusPage:
    """The page, as its engine or a front end has it.

    Args:
        descriptor: Of the engine's page, closed by the caller; None: a new one, of zeros.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = shared_file(_STATUS.size) if descriptor is None else descriptor
        self._memory = mapped(self.descriptor)

    def write(self, windows: int, waited_s: float, is_away: bool = False) -> None:
        """Say how many windows are here, how long the first live one waits, and if it can."""
        since_s = time.monotonic() - waited_s if waited_s else 0.0
        _STATUS.pack_into(self._memory, 0, windows, since_s, is_away)

    @property
    def windows(self) -> int:
        """Windows of all front ends that wait or are computed."""
        windows, _, _ = _STATUS.unpack_from(self._memory)
        return int(windows)

    @property
    def waited_s(self) -> float:
        """Seconds that the first live window in line has waited; 0 when none does."""
        _, since_s, _ = _STATUS.unpack_from(self._memory)
        return max(0.0, time.monotonic() - since_s) if since_s else 0.0

    @property
    def is_away(self) -> bool:
        """Whether the engine's device is not there now: what it is given fails at once."""
        _, _, is_away = _STATUS.unpack_from(self._memory)
        return bool(is_away)
