"""Logging: one JSON object per line on standard error; never audio, embeddings or scores."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "taskName"}


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged."""

    level: str = field(default="info", metadata={"choices": ("debug", "info", "warning", "error")})
    """Least severity that is written."""


class JsonLines(logging.Formatter):
    """Writes a record, with the fields given as `extra`, as one line of JSON.

    Args:
        process: Which of several processes writes; empty: the only one.
    """

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Give the line, without a newline."""
        event: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        if self._process:
            event["process"] = self._process
        event |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return json.dumps(event, default=str)


def configure(settings: LogSettings, process: str = "") -> None:
    """Send speakerd's records, and warnings of the libraries, to standard error.

    With `process`, each says which of several processes wrote it.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("speakerd_server").setLevel(settings.level.upper())
