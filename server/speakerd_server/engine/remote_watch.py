"""Watches a server elsewhere: says when it goes away, and takes it back only as what it was."""

from __future__ import annotations

import threading
from collections.abc import Callable

import grpc

from speakerd_server.engine.remote_client import RemoteClient
from speakerd_server.engine.remote_lane import cause_of
from speakerd_server.errors import SpeakerdError

_FAILURES = 2
"""Looks in a row that find it away: one may be lost to a busy moment."""
_DEADLINE_S = 1.0
_SOON_S = 0.1
_END_S = 2.0


class RemoteWatch:
    """Asks the server again and again, on a thread of its own.

    Args:
        client: The watch's own connection; closed with it.
        interval_s: Between two looks.
        check: Tries the server once it is back; raises a SpeakerdError where its model is not
            the one that was there.
    """

    def __init__(self, client: RemoteClient, interval_s: float, check: Callable[[], None]) -> None:
        self._client, self._interval_s, self._check = client, interval_s, check
        self._away: str | None = None
        self._told: Callable[[str | None], None] | None = None
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(
            target=self._run, name=f"watch-{client.address}", daemon=True
        )

    @property
    def away(self) -> str | None:
        """Why the server is not there; None where it is."""
        return self._away

    def start(self) -> None:
        """Begin; the server is there now."""
        self._thread.start()

    def tell(self, told: Callable[[str | None], None]) -> None:
        """Call with `away` whenever it changes, on the watch's thread."""
        self._told = told

    def doubted(self) -> None:
        """Look at once."""
        self._wake.set()

    def close(self) -> None:
        """End the thread, whatever it waits for."""
        self._closed = True
        self._wake.set()
        self._client.close()
        if self._thread.is_alive():
            self._thread.join(_END_S)

    def _run(self) -> None:
        failures = 0
        while True:
            soon = 0 < failures < _FAILURES
            self._wake.wait(min(_SOON_S, self._interval_s) if soon else self._interval_s)
            self._wake.clear()
            if self._closed:
                return
            cause = self._look()
            if self._closed:
                return
            failures = 0 if cause is None else failures + 1
            if cause is None and self._away is not None:
                cause = self._what_is_wrong()
            if cause is None or failures >= _FAILURES or self._away is not None:
                self._now(cause)

    def _look(self) -> str | None:
        """Give why the server cannot be asked; None where it can."""
        try:
            ready = self._client.is_ready(_DEADLINE_S)
        except grpc.RpcError as error:
            return cause_of(error)
        except ValueError as error:  # what gRPC raises where the connection was closed here
            return str(error)
        return None if ready else "it says that it is not ready"

    def _what_is_wrong(self) -> str | None:
        """Give what is wrong with a server that has come back."""
        try:
            self._check()
        except SpeakerdError as error:
            return str(error)
        # The thread's edge: a server that cannot be tried now is tried again.
        except Exception as error:  # noqa: BLE001
            return f"{type(error).__name__}: {error}"
        return None

    def _now(self, cause: str | None) -> None:
        changed = (cause is None) != (self._away is None)
        self._away = cause
        if changed and self._told is not None and not self._closed:
            self._told(cause)
