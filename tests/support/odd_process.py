"""A process of a daemon that does what it is asked to, such as dying: a program for `Child`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from speakerd_server.errors import SpeakerUnknown
from speakerd_server.processes import entry
from speakerd_server.processes.messages import Begin

PROGRAM = (__file__,)


def refuse(speaker_id: str) -> None:
    """Raise what has a name."""
    raise SpeakerUnknown("bank", speaker_id)


DOES: Mapping[str, Callable[[Any], Any]] = {
    "echo": lambda content: content,
    "raise": refuse,
    "environment": os.environ.get,
    "read": lambda descriptor: os.pread(descriptor, 100, 0),
    "session": lambda _: os.getsid(0),
    "end": os._exit,
    "garbage": lambda descriptor: os.write(descriptor, b"\xff" * 100),
}
"""What needs no waiting, by its word."""


class Odd:
    """Answers tuples of a word and what belongs to it."""

    def __init__(self, ask: entry.Ask) -> None:
        self._ask = ask
        self._begun: Begin | None = None
        self._mark = ""
        self._hangs = False

    async def begin(self, begin: Begin) -> None:
        """Take note of what it is to be; refuse one name, hang at another."""
        if begin.name == "hangs":
            await asyncio.Event().wait()
        if begin.name == "refused":
            refuse(begin.name)
        self._begun = begin

    async def answer(self, question: tuple[str, Any]) -> Any:
        """Do what the word says; see DOES for the others."""
        word, content = question
        match word:
            case "ask back":
                return await self._ask(content)
            case "mark when closed":
                self._mark = content
            case "hang when closed":
                self._hangs = True
            case "begun":
                return self._begun
            case "wait":
                await asyncio.Event().wait()
            case _:
                return DOES[word](content)
        return None

    async def close(self) -> None:
        """Leave the mark, and hang, where that was asked for."""
        if self._mark:
            await asyncio.to_thread(Path(self._mark).write_text, "closed")
        if self._hangs:
            await asyncio.Event().wait()


if __name__ == "__main__":
    entry.main(Odd)
