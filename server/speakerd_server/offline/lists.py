"""Lists in Kaldi's form: one entry a line, its fields separated by blanks."""

from __future__ import annotations

import codecs
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from speakerd_server.errors import ListInvalid


@dataclass(frozen=True, slots=True)
class Listed:
    """One recording of a wav.scp."""

    id: str
    """Of the utterance, without blanks; unique in its list."""
    path: Path
    """Of the audio file; it may be missing."""
    line: int
    """Where it stands in the list, from 1."""


def read_fields(path: Path, counts: Collection[int], what: str) -> list[tuple[int, list[str]]]:
    """Read a list: for each line that is not empty its number, from 1, and its fields.

    Args:
        path: UTF-8 text; a byte order mark and CRLF are taken as well.
        counts: How many fields a line may have.
        what: What a line must hold, for the message, such as "an id and a path".

    Raises:
        ListInvalid: The file cannot be read, is no UTF-8 text, has no entry, or a line has
            another number of fields.
    """
    entries = list(_lines(path))
    if not entries:
        raise ListInvalid(path, None, f"it is empty; each line must hold {what}")
    for number, fields in entries:
        if len(fields) not in counts:
            check_no_command(path, number, fields)
            raise ListInvalid(path, number, _wrong_count(fields, what))
    return entries


def read_wav_scp(path: Path, root: Path | None = None) -> tuple[Listed, ...]:
    """Read a wav.scp: `id path` on each line, in that order.

    Args:
        path: The list.
        root: Folder that relative paths in it are below; None: the current folder.

    Raises:
        ListInvalid: What `read_fields` refuses, a command in place of a path, or an id twice.
    """
    entries = read_fields(path, {2}, "an id and the path of an audio file")
    check_unique(path, [(number, fields[0]) for number, fields in entries])
    for number, fields in entries:
        check_no_command(path, number, fields)
    folder = root if root is not None else Path()
    return tuple(Listed(fields[0], folder / fields[1], number) for number, fields in entries)


def check_no_command(path: Path, line: int, fields: list[str]) -> None:
    """Raise ListInvalid where a line names a command, as Kaldi's lists may, and not a file."""
    if fields[-1].endswith("|") or fields[1:2] == ["|"]:
        raise ListInvalid(
            path,
            line,
            f"{fields[0]} is a command (with a '|'), and speakerd never runs what stands in a"
            " list; write the command's output to a file and name that",
        )


def check_unique(path: Path, ids: Collection[tuple[int, str]]) -> None:
    """Raise ListInvalid where an id, given with its line, stands twice in a list."""
    seen: dict[str, int] = {}
    for number, name in ids:
        first = seen.setdefault(name, number)
        if first != number:
            raise ListInvalid(path, number, f"the id {name} stands in line {first} already")


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ListInvalid(path, None, f"it cannot be read ({error.strerror})") from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content:
        raise ListInvalid(path, None, "it is no UTF-8 text; save it as UTF-8")
    # Only ASCII blanks separate fields, as in Kaldi: those of other scripts may be in a name.
    lines = content.removeprefix(codecs.BOM_UTF8).split(b"\n")
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        try:
            yield number, [field.decode("utf-8") for field in fields]
        except UnicodeDecodeError as error:
            raise ListInvalid(path, number, "it is no UTF-8 text; save it as UTF-8") from error


def _wrong_count(fields: list[str], what: str) -> str:
    found = f"it has {len(fields)} field(s), it must hold {what}, separated by blanks"
    if len(fields) > 2:
        return found + "; a name with blanks in it cannot be listed: rename the file"
    return found
