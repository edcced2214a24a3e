"""One answer of HTTP/1.1, read off a connection; nothing in it is believed before it is checked."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

from speakerd_client.errors import NotOffered, ServerFailed

HEAD_LIMIT_BYTES = 1 << 16
"""Of the status line and all fields; also the `limit` of the stream that is read."""
BODY_LIMIT_BYTES = 64 << 20
_BEGIN = b"HTTP/"
_END = b"\r\n\r\n"
_STATUS = re.compile(rb"1\.([01]) ([1-5]\d\d)(?: [^\r\n]*)?")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n]*?)[ \t]*")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_MOST_INTERIM = 8
_WITHOUT_BODY = (204, 304)


class NotHttp(NotOffered):
    """What answers speaks another protocol."""


class BadAnswer(ServerFailed):
    """An answer is not as HTTP wants it."""


@dataclass(frozen=True, slots=True)
class Head:
    """What stands before the body."""

    status: int
    """100 to 599."""
    fields: Mapping[str, str]
    """By name in small letters; those that came several times are joined by commas."""
    keeps_open: bool
    """The connection may be used again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    head: Head
    """What stood before the body."""
    body: bytes
    """As it came, no longer in chunks."""


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read the answer to a request that wants a body.

    Raises:
        NotHttp: What came does not begin as an answer does.
        BadAnswer: It cannot be read, or is larger than the limits.
        asyncio.IncompleteReadError: The connection ended before the answer.
        OSError: The connection broke.
    """
    for _ in range(_MOST_INTERIM):
        head = head_of(await _head_bytes(reader))
        if head.status >= 200:
            return await _with_body(reader, head)
    raise BadAnswer(f"the server sent {_MOST_INTERIM} interim answers and no final one")


def head_of(data: bytes) -> Head:
    """Understand a head, from behind "HTTP/" up to its empty line. Raises BadAnswer."""
    first, *lines = data.removesuffix(_END).split(b"\r\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise BadAnswer(f"the server's answer begins with HTTP/{_shown(first)}, no status line")
    fields: dict[str, str] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise BadAnswer(f"the server's answer has a line {_shown(line)}, which is no field")
        name, value = (part.decode("latin-1") for part in field.groups())
        name = name.lower()
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    wishes = _items(fields.get("connection", ""))
    keeps_open = "close" not in wishes if status[1] == b"1" else "keep-alive" in wishes
    return Head(int(status[2]), fields, keeps_open)


async def _head_bytes(reader: asyncio.StreamReader) -> bytes:
    begin = await reader.readexactly(len(_BEGIN))
    if begin != _BEGIN:
        raise NotHttp(f"what answers does not speak HTTP/1.1; it began with {_shown(begin)}")
    return await _until(reader, _END, "head")


async def _with_body(reader: asyncio.StreamReader, head: Head) -> Answer:
    coding = _items(head.fields.get("transfer-encoding", ""))
    if head.status in _WITHOUT_BODY:
        return Answer(head, b"")
    if coding:
        if coding != ["chunked"]:
            raise BadAnswer(f"the server's answer is encoded as {', '.join(coding)}")
        return Answer(head, await _chunks(reader))
    if "content-length" in head.fields:
        size_bytes = _length(head.fields["content-length"])
        return Answer(head, await reader.readexactly(size_bytes))
    body = await reader.read(BODY_LIMIT_BYTES + 1)
    while (more := await reader.read(BODY_LIMIT_BYTES + 1 - len(body))) and body:
        body += more
    _check_size(len(body))
    return Answer(Head(head.status, head.fields, keeps_open=False), body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts, size_bytes = [], 0
    while True:
        line = await _until(reader, b"\r\n", "chunk's length")
        found = _CHUNK.fullmatch(line)
        if found is None:
            raise BadAnswer(f"the server's answer has a chunk of length {_shown(line)}")
        chunk_bytes = int(found[1], 16)
        if not chunk_bytes:
            break
        size_bytes += chunk_bytes
        _check_size(size_bytes)
        parts.append(await reader.readexactly(chunk_bytes))
        if (end := await reader.readexactly(2)) != b"\r\n":
            raise BadAnswer(f"a chunk of the server's answer ends with {_shown(end)}")
    for _ in range(_MOST_INTERIM):
        if await _until(reader, b"\r\n", "trailer") == b"\r\n":
            return b"".join(parts)
    raise BadAnswer("the server's answer has too many trailers")


async def _until(reader: asyncio.StreamReader, end: bytes, what: str) -> bytes:
    try:
        return await reader.readuntil(end)
    except asyncio.LimitOverrunError:
        raise BadAnswer(f"the {what} of the server's answer is too long") from None


def _length(text: str) -> int:
    values = set(_items(text))
    if len(values) != 1 or not re.fullmatch(r"[0-9]{1,12}", value := values.pop()):
        raise BadAnswer(f"the server's answer has the length {text!r}")
    size_bytes = int(value)
    _check_size(size_bytes)
    return size_bytes


def _check_size(size_bytes: int) -> None:
    if size_bytes > BODY_LIMIT_BYTES:
        raise BadAnswer(f"the server's answer is over {BODY_LIMIT_BYTES >> 20} MiB")


def _items(text: str) -> list[str]:
    return [item.strip().lower() for item in text.split(",") if item.strip()]


def _shown(data: bytes) -> str:
    return repr(data[:40])[1:]
