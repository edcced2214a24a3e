"""One of every error that can end a call, made by its own signature."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speakerd_server.errors import SpeakerdError
from speakerd_server.wire import edge as edge  # its errors count as well
from speakerd_server.wire.status import named_errors

_PLAUSIBLE: dict[Any, Any] = {
    int: 7,
    float: 1.5,
    str: "audio",
    object: "thing",
    Path: Path("speakerd.db"),
    Sequence[str]: ("one", "two"),
    Sequence[tuple[float, float]]: ((0.01, 0.05),),
}


def made(kind: type[SpeakerdError]) -> SpeakerdError:
    """Make an error with plausible numbers and words."""
    if kind.__init__ is Exception.__init__:
        return kind("something failed")
    hints = typing.get_type_hints(kind.__init__)
    given = {name: _PLAUSIBLE[hint] for name, hint in hints.items() if name != "return"}
    return kind(**given)


def all_kinds() -> list[type[SpeakerdError]]:
    """Give every error class that can end a call, by reason."""
    return sorted(named_errors(), key=lambda kind: (kind.reason, kind.__name__))
