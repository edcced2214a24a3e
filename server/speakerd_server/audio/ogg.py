"""Pages of an Ogg stream as they come in, and the packets in them. Source: RFC 3533, section 6."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from speakerd_server.errors import AudioFileInvalid

LONGEST_PACKET_BYTES = 1 << 20
"""Far more than any packet of audio; comments with a picture may be longer than those."""

_HEAD = struct.Struct("<4sBBqIII")
_HEAD_BYTES = _HEAD.size + 1
_LONGEST_PAGE_BYTES = _HEAD_BYTES + 255 + 255 * 255
_CONTINUED, _FIRST, _LAST = 1, 2, 4
_WHOLE_SEGMENT = 255
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True, slots=True)
class Page:
    """The packets that end in one page."""

    packets: tuple[bytes, ...]
    """Whole ones, in order."""
    granule: int
    """Position of the last of them, by the codec's clock; -1: no packet ends here."""
    is_last: bool
    """True for the last page of the stream."""


class OggReader:
    """Reads one logical stream; pages come out whole, wherever the bytes were split.

    Raises AudioFileInvalid for what is no Ogg, for a damaged or missing page, for a second stream,
    beside the first or behind it, and for packets longer than LONGEST_PACKET_BYTES.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._packet = bytearray()
        self._serial: int | None = None
        self._pages = 0
        self._ended = False
        self._in_packet = False

    def push(self, chunk: bytes) -> list[Page]:
        """Take the next bytes; give the pages that are whole by them."""
        self._held += chunk
        pages, at = [], 0
        while (size := self._page_bytes(at)) is not None:
            pages.append(self._page(bytes(self._held[at : at + size])))
            at += size
        del self._held[:at]
        return pages

    def end(self) -> None:
        """Raise AudioFileInvalid where the stream was cut in the middle of a page or a packet."""
        if self._held:
            self._refuse("it was cut in the middle of a page")
        if self._in_packet:
            self._refuse("it was cut in the middle of a packet")

    def _page_bytes(self, at: int) -> int | None:
        """Give the size of the page at a place; None: not all of it is there."""
        mark = bytes(self._held[at : at + 4])
        if mark != b"OggS"[: len(mark)]:
            self._refuse("it is no Ogg stream, or damaged")
        if len(self._held) < at + _HEAD_BYTES:
            return None
        segments = self._held[at + _HEAD_BYTES - 1]
        table_end = at + _HEAD_BYTES + segments
        if len(self._held) < table_end:
            return None
        size = _HEAD_BYTES + segments + sum(self._held[at + _HEAD_BYTES : table_end])
        return size if len(self._held) >= at + size else None

    def _page(self, page: bytes) -> Page:
        _, version, flags, granule, serial, sequence, checksum = _HEAD.unpack_from(page)
        if version or _checksum(page) != checksum:
            self._refuse("it is damaged: a checksum is wrong")
        self._check_place(flags, serial, sequence)
        self._pages += 1
        self._ended = bool(flags & _LAST)
        segments = page[_HEAD_BYTES - 1]
        packets = self._packets(page, segments)
        return Page(packets, granule if packets else -1, self._ended)

    def _check_place(self, flags: int, serial: int, sequence: int) -> None:
        if self._ended:
            self._refuse("it goes on after its last page; send one stream in a call")
        if self._serial is None:
            self._serial = serial
        if serial != self._serial or bool(flags & _FIRST) != (self._pages == 0):
            self._refuse("there is more than one stream in it, or its beginning is missing")
        if sequence != self._pages:
            self._refuse(f"page {sequence} comes where {self._pages} should")
        if bool(flags & _CONTINUED) != self._in_packet:
            self._refuse("it is damaged: a packet has no beginning, or no end")

    def _packets(self, page: bytes, segments: int) -> tuple[bytes, ...]:
        found, at = [], _HEAD_BYTES + segments
        for size in page[_HEAD_BYTES : _HEAD_BYTES + segments]:
            self._packet += page[at : at + size]
            at += size
            self._in_packet = size == _WHOLE_SEGMENT
            if len(self._packet) > LONGEST_PACKET_BYTES:
                self._refuse(f"a packet has more than {LONGEST_PACKET_BYTES} bytes")
            if not self._in_packet:
                found.append(bytes(self._packet))
                self._packet.clear()
        return tuple(found)

    def _refuse(self, problem: str) -> None:
        raise AudioFileInvalid(f"{problem} (after {self._pages} pages)")


def _checksum(page: bytes) -> int:
    """Give the CRC-32 of a page with its own field zero: polynomial 04C11DB7, most bit first.

    zlib's is the same with every byte and the result mirrored, and both ends inverted.
    """
    mirrored = (page[:22] + bytes(4) + page[26:]).translate(_REVERSED)
    value = zlib.crc32(mirrored, 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int.from_bytes(value.to_bytes(4, "little").translate(_REVERSED), "big")
