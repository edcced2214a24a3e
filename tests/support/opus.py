"""Ogg/Opus for tests: made by libsndfile, taken apart and put together again page by page."""

from __future__ import annotations

import io
import struct

import numpy as np
import soundfile
from speakerd_server.audio.ogg import _checksum
from speakerd_server.values import Float32


def ogg_opus(samples: Float32, rate_hz: int = 16_000) -> bytes:
    """Encode float32[n] or float32[n, 2] as a whole file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="OGG", subtype="OPUS")
    return file.getvalue()


def decoded(content: bytes) -> Float32:
    """Decode a whole file by libsndfile: float32[n, channels] at 16 kHz."""
    samples, rate_hz = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    assert rate_hz == 16_000
    return np.asarray(samples, np.float32)


def pages(content: bytes) -> list[bytes]:
    """Cut a stream into its pages."""
    found, at = [], 0
    while at < len(content):
        segments = content[at + 26]
        end = at + 27 + segments + sum(content[at + 27 : at + 27 + segments])
        found.append(content[at:end])
        at = end
    return found


def changed(
    page: bytes,
    *,
    flags: int | None = None,
    granule: int | None = None,
    sequence: int | None = None,
    serial: int | None = None,
    body: bytes | None = None,
) -> bytes:
    """Give a page with other fields and the checksum that belongs to them."""
    head = list(struct.unpack("<4sBBqIII", page[:26]))
    head[2] = head[2] if flags is None else flags
    head[3] = head[3] if granule is None else granule
    head[4] = head[4] if serial is None else serial
    head[5] = head[5] if sequence is None else sequence
    rest = page[26:]
    if body is not None:
        sizes = [255] * (len(body) // 255) + [len(body) % 255]
        rest = bytes([len(sizes), *sizes]) + body
    raw = struct.pack("<4sBBqIII", *head[:6], 0) + rest
    return raw[:22] + struct.pack("<I", _checksum(raw)) + raw[26:]
