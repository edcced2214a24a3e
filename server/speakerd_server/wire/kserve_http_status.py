"""The error table of HTTP: every error of errors.py as a status with {"error": "..."}."""

from __future__ import annotations

import json
import math

from aiohttp import web

from speakerd_server import errors
from speakerd_server.errors import SpeakerdError
from speakerd_server.wire.status import retry_after_s

JSON_TYPE = "application/json"
REASON_HEADER = "Speakerd-Reason"
STATUSES: dict[type[SpeakerdError], int] = {
    errors.InvalidInput: 400,
    errors.BodyTooLarge: 413,
    errors.NotFound: 404,
    errors.MethodUnsupported: 405,
    errors.NotPossible: 409,
    errors.GroupExists: 409,
    errors.Exhausted: 429,
    errors.NotAvailable: 503,
    errors.TooSlow: 408,
    errors.EngineFailed: 500,
    errors.StoreCorrupt: 500,
    SpeakerdError: 500,
}
"""Status of each family; a class takes that of its nearest ancestor here."""


def http_status_of(kind: type[SpeakerdError]) -> int:
    """Give the HTTP status of an error class."""
    return next(STATUSES[ancestor] for ancestor in kind.__mro__ if ancestor in STATUSES)


def http_error(error: SpeakerdError) -> web.Response:
    """Give the answer that tells an error."""
    headers = {REASON_HEADER: error.reason}
    if isinstance(error, errors.MethodUnsupported):
        headers["Allow"] = error.offered
    wait_s = retry_after_s(error)
    if wait_s is not None:
        headers["Retry-After"] = str(math.ceil(wait_s))
    return web.Response(
        status=http_status_of(type(error)),
        body=json.dumps({"error": error.told}).encode(),
        content_type=JSON_TYPE,
        headers=headers,
    )
