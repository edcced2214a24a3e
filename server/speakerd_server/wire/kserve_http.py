"""KServe's inference protocol over HTTP: paths to inference, over the engine of all calls."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from aiohttp.web_request import BaseRequest

from speakerd_server.calls.inference import Inference
from speakerd_server.calls.inference_values import InferenceRequest
from speakerd_server.errors import (
    BodyInvalid,
    BodyTooSlow,
    Draining,
    FieldInvalid,
    MethodUnsupported,
    PathUnknown,
    SpeakerdError,
)
from speakerd_server.wire import kserve_http_convert as convert
from speakerd_server.wire.edge import Called
from speakerd_server.wire.kserve_http_body import (
    Bodies,
    Body,
    coding_for,
    compressed,
    joined,
    parted,
)
from speakerd_server.wire.kserve_http_json import parse
from speakerd_server.wire.kserve_http_status import JSON_TYPE, http_error

HEADER_LENGTH = "Inference-Header-Content-Length"
_BINARY_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A request, and which model its path names."""

    request: BaseRequest
    body: Body
    called: Called
    model: str = ""
    version: str = ""

    async def json(self) -> dict[str, Any]:
        """Read a body that is JSON alone, or nothing; raises what reading a body does."""
        return parse(joined(await self.body.read(self.request)))


class HttpDoor:
    """Translates between HTTP and inference."""

    def __init__(self, inference: Inference, bodies: Bodies) -> None:
        self._inference, self._bodies = inference, bodies

    async def answer(self, request: BaseRequest) -> web.Response:
        """Answer a request; whatever fails in it becomes a named error."""
        called = Called("HTTP")
        last = self._inference.serving.places.stopping
        try:
            with self._bodies.one() as body:
                response = await self._answer(called, request, body)
        except SpeakerdError as error:
            called.note(error)
            response = http_error(error)
            last = last or isinstance(error, BodyTooSlow)
        except ConnectionError:
            raise  # nobody is there to be told
        except Exception:  # noqa: BLE001 - the request's edge: a client must never see a traceback
            failure = called.failure()
            called.note(failure)
            response = http_error(failure)
        response.headers["Server"] = "speakerd"
        if last:
            response.force_close()
        return response

    async def _answer(self, called: Called, request: BaseRequest, body: Body) -> web.Response:
        """Find what is asked, and do it.

        Raises PathUnknown and MethodUnsupported, and what the work raises.
        """
        path, offered = request.rel_url.raw_path, ""
        for route in _ROUTES:
            found = route.path.fullmatch(path)
            offered = route.method if found else offered
            if found and route.method == request.method:
                called.rpc = f"{route.rpc} over HTTP"
                names = {name: unquote(value or "") for name, value in found.groupdict().items()}
                return await route.work(self, _Asked(request, body, called, **names))
        if offered:
            raise MethodUnsupported(request.method, path, offered)
        raise PathUnknown(request.method, path)

    async def live(self, _: _Asked) -> web.Response:
        """Tell that the process answers."""
        return _told(self._inference.live())

    async def ready(self, _: _Asked) -> web.Response:
        """Tell whether calls are taken."""
        return _told(self._inference.ready())

    async def model_ready(self, asked: _Asked) -> web.Response:
        """Tell whether a model can be named."""
        return _told(self._inference.model_ready(asked.model, asked.version))

    async def server_metadata(self, _: _Asked) -> web.Response:
        """Say what the server is."""
        found = self._inference.server_metadata()
        return _json({"name": found.name, "version": found.version, "extensions": found.extensions})

    async def metadata(self, asked: _Asked) -> web.Response:
        """Say what a model takes and gives."""
        return _json(convert.metadata(self._inference.metadata(asked.model, asked.version)))

    async def config(self, asked: _Asked) -> web.Response:
        """Give a model's configuration."""
        return _json(convert.config(await self._inference.config(asked.model, asked.version)))

    async def statistics(self, asked: _Asked) -> web.Response:
        """Count what was inferred, by one model or by all."""
        found = self._inference.statistics(asked.model, asked.version)
        return _json({"model_stats": [convert.statistics(one) for one in found]})

    async def index(self, asked: _Asked) -> web.Response:
        """List the models."""
        ready = (await asked.json()).get("ready", False)
        if not isinstance(ready, bool):
            raise BodyInvalid("has 'ready' that is neither true nor false")
        return _json([convert.listing(one) for one in await self._inference.index(ready=ready)])

    async def load(self, asked: _Asked) -> web.Response:
        """Load a bundle."""
        given = bool((await asked.json()).get("parameters"))
        await self._inference.load(asked.model, with_parameters=given)
        return web.Response()

    async def unload(self, asked: _Asked) -> web.Response:
        """Unload a bundle."""
        await asked.json()
        await self._inference.unload(asked.model)
        return web.Response()

    async def infer(self, asked: _Asked) -> web.Response:
        """Embed."""
        if self._inference.serving.places.draining:
            raise Draining
        wanted = await _inference_request(asked)
        # Any id is echoed; one that can stand in a log is there as well.
        with suppress(FieldInvalid):
            asked.called.named(wanted.id)
        content, json_bytes = convert.reply(wanted, await self._inference.infer(wanted))
        headers = {} if json_bytes is None else {HEADER_LENGTH: str(json_bytes)}
        coding = coding_for(asked.request.headers.get("Accept-Encoding", ""))
        if coding:
            headers["Content-Encoding"] = coding
            content = compressed(content, coding)
        kind = JSON_TYPE if json_bytes is None else _BINARY_TYPE
        return web.Response(body=content, content_type=kind, headers=headers)


@dataclass(frozen=True, slots=True)
class _Route:
    method: str
    path: re.Pattern[str]
    rpc: str
    work: Callable[[HttpDoor, _Asked], Awaitable[web.Response]]


_MODEL = "/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?"
_BUNDLE = "/v2/repository/models/(?P<model>.+)"
_ROUTES = tuple(
    _Route(method, re.compile(path + "/?"), rpc, work)
    for method, path, rpc, work in (
        ("POST", f"{_MODEL}/infer", "ModelInfer", HttpDoor.infer),
        ("GET", "/v2/health/live", "ServerLive", HttpDoor.live),
        ("GET", "/v2/health/ready", "ServerReady", HttpDoor.ready),
        ("GET", f"{_MODEL}/ready", "ModelReady", HttpDoor.model_ready),
        ("GET", "/v2/models/stats", "ModelStatistics", HttpDoor.statistics),
        ("GET", f"{_MODEL}/stats", "ModelStatistics", HttpDoor.statistics),
        ("GET", f"{_MODEL}/config", "ModelConfig", HttpDoor.config),
        ("GET", _MODEL, "ModelMetadata", HttpDoor.metadata),
        ("GET", "/v2", "ServerMetadata", HttpDoor.server_metadata),
        ("POST", "/v2/repository/index", "RepositoryIndex", HttpDoor.index),
        ("POST", f"{_BUNDLE}/load", "RepositoryModelLoad", HttpDoor.load),
        ("POST", f"{_BUNDLE}/unload", "RepositoryModelUnload", HttpDoor.unload),
    )
)


async def _inference_request(asked: _Asked) -> InferenceRequest:
    length = asked.request.headers.get(HEADER_LENGTH)
    pieces = await asked.body.read(asked.request)
    if length is None:
        text, binary = joined(pieces), b""
    elif re.fullmatch("[0-9]{1,18}", length):
        text, binary = parted(pieces, int(length))
    else:
        raise BodyInvalid(f"has a header {HEADER_LENGTH} that is no number")
    del pieces  # or all of it would be there twice
    return await convert.request(asked.model, asked.version, parse(text), binary)


def _told(yes: bool) -> web.Response:
    return web.Response(status=200 if yes else 400)


def _json(value: Any) -> web.Response:
    return web.Response(body=convert.written(value), content_type=JSON_TYPE)
