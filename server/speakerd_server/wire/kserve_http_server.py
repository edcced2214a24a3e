"""The HTTP server: its address, its connections, and how it stops."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

from aiohttp import web
from aiohttp.web_request import BaseRequest

from speakerd_server.calls.inference import Inference
from speakerd_server.errors import AddressUnavailable, HttpInvalid
from speakerd_server.wire.edge import Called
from speakerd_server.wire.kserve_http import HttpDoor
from speakerd_server.wire.kserve_http_body import Bodies
from speakerd_server.wire.kserve_http_status import http_error
from speakerd_server.wire.server import host_and_port

SETTING = "kserve.http_address"
IDLE_S = 75.0
"""A connection without a whole head of a request is closed after so long."""
_BACKLOG = 1024
_LINGER_S = 5.0
"""What a refused request still sends is read for so long, that its client may read the answer."""
_LAST_ANSWERS_S = 1.0
_FULL = b'{"error": "too many connections; try later"}'
_CLOSED_AT_ONCE = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_FULL), _FULL)
)
_log = logging.getLogger(__name__)


class HttpServer:
    """KServe's inference protocol over HTTP on one port.

    Args:
        inference: What it serves.
        address: Host and port; port 0 takes any free one.
        shared_port: Whether other processes listen on the same port too.
    """

    def __init__(self, inference: Inference, address: str, *, shared_port: bool = False) -> None:
        self._inference, self._address, self._shared_port = inference, address, shared_port
        self._listening: asyncio.Server | None = None
        self._connections: _Connections | None = None

    async def start(self) -> str:
        """Listen; gives the address with the real port. Raises AddressUnavailable."""
        settings, limits = self._inference.settings, self._inference.serving.settings
        bodies = Bodies(
            settings.http_body_mib << 20,
            settings.http_body_timeout_s,
            max(limits.maximum_unary_audio_mib, 2 * settings.http_body_mib),
        )
        door = HttpDoor(self._inference, bodies)
        self._connections = _Connections(door, settings.http_connections, limits.write_timeout_s)
        host, port = host_and_port(self._address, SETTING)
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
            self._listening = await loop.create_server(
                self._connections,
                *found[0][4][:2],
                backlog=_BACKLOG,
                reuse_port=self._shared_port or None,
            )
        except OSError as error:
            cause = "another program listens there, or this host has no such address"
            raise AddressUnavailable(
                self._address, SETTING, f"{cause} ({error.strerror})"
            ) from None
        return f"{host}:{self._listening.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Stop listening; what is answered now may be written yet, all else is cut off."""
        if self._listening is not None:
            self._listening.close()
        if self._connections is not None:
            self._connections.pre_shutdown()
            await self._connections.shutdown(_LAST_ANSWERS_S)


class _Connections(web.Server):
    """All connections of the port."""

    def __init__(self, door: HttpDoor, limit: int, write_timeout_s: float) -> None:
        # A client that goes away takes its request back.
        super().__init__(door.answer, handler_cancellation=True)
        self._limit, self._write_timeout_s = limit, write_timeout_s

    def __call__(self) -> web.RequestHandler:
        return _Connection(
            self,
            self._write_timeout_s,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=IDLE_S,
            lingering_time=_LINGER_S,
            auto_decompress=False,  # within limits of our own
            access_log=None,
            logger=_log,
        )

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self.connections) > self._limit:
            transport.write(_CLOSED_AT_ONCE)
            handler.force_close()


class _Connection(web.RequestHandler):
    """One connection."""

    __slots__ = ("_write_timeout_s",)

    def __init__(self, connections: _Connections, write_timeout_s: float, **more: Any) -> None:
        super().__init__(connections, **more)
        self._write_timeout_s = write_timeout_s

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write an answer; a client that does not read it in time is cut off."""
        try:
            async with asyncio.timeout(self._write_timeout_s):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            if self.transport is not None:
                self.transport.abort()
            return resp, True

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP; raises ConnectionError where an answer was begun already."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun")
        error = HttpInvalid((message or "it cannot be read").splitlines()[0])
        Called("HTTP").note(error)
        response = http_error(error)
        response.headers["Server"] = "speakerd"  # else aiohttp names itself, and its version
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log what went wrong on the connection itself."""
        self.logger.debug(*args, **kw)
