from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.errors import BodyInvalid, BodyTooLarge, TooManyCalls
from speakerd_server.wire.kserve_http_body import (
    Bodies,
    coding_for,
    compressed,
    joined,
    parted,
)

MIB = 1 << 20


def decompressed(*pieces: bytes, largest_bytes: int = MIB, room_mib: int = 8) -> bytes:
    bodies = Bodies(largest_bytes, 1.0, room_mib)
    with bodies.one() as body:
        found = b"".join(asyncio.run(body._decompressed(list(pieces))))
        assert bodies.held_bytes == body.held_bytes == len(found)
    assert bodies.held_bytes == 0
    return found


@given(st.lists(st.binary(max_size=20), max_size=6), st.data())
def test_a_body_is_parted_at_any_place_whatever_its_pieces(
    pieces: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(pieces)
    assert joined(pieces) == whole
    place = data.draw(st.integers(0, len(whole)))
    assert parted(pieces, place) == (whole[:place], whole[place:])
    with pytest.raises(BodyInvalid):
        parted(pieces, len(whole) + 1)


@given(st.binary(max_size=2000), st.sampled_from(["gzip", "deflate"]), st.integers(1, 50))
def test_what_is_compressed_is_read_again_however_it_comes(
    content: bytes, coding: str, size: int
) -> None:
    packed = compressed(content, coding)
    assert (gzip if coding == "gzip" else zlib).decompress(packed) == content
    assert decompressed(*(packed[at : at + size] for at in range(0, len(packed), size))) == content


@pytest.mark.parametrize("size", [0, 1, 262_143, 262_144, 262_145, 524_288, MIB])
def test_lengths_around_a_step_are_whole(size: int) -> None:
    assert decompressed(gzip.compress(bytes(size))) == bytes(size)


@given(st.binary(max_size=200))
def test_what_is_not_compressed_is_refused_or_read(content: bytes) -> None:
    try:
        found = decompressed(content)
    except BodyInvalid:
        return
    assert zlib.decompress(content, 47) == found


@pytest.mark.parametrize(
    "content",
    [b"", gzip.compress(b"a" * 100)[:-1], gzip.compress(b"a") + b"b", gzip.compress(b"a") * 2],
    ids=["nothing", "cut", "followed", "twice"],
)
def test_only_one_whole_stream_is_taken(content: bytes) -> None:
    with pytest.raises(BodyInvalid, match="one whole compressed stream"):
        decompressed(content)


def test_a_bomb_is_refused_before_it_has_grown_beyond_the_limit() -> None:
    bomb = gzip.compress(bytes(64 * MIB))
    assert len(bomb) < 100_000
    with pytest.raises(BodyTooLarge) as refused:
        decompressed(bomb)
    assert refused.value.limit_bytes == MIB


def test_what_is_decompressed_counts_as_what_came_does() -> None:
    with pytest.raises(TooManyCalls):
        decompressed(gzip.compress(bytes(3 * MIB)), largest_bytes=4 * MIB, room_mib=2)


async def test_other_calls_go_on_while_a_body_is_decompressed() -> None:
    with Bodies(64 * MIB, 1.0, 64).one() as body:
        work = asyncio.create_task(body._decompressed([gzip.compress(bytes(16 * MIB))]))
        turns = 0
        while not work.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 10


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("", ""),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip", "gzip"),
        ("GZIP;q=0.5, br", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip; q=0.000", ""),
        ("br, zstd, identity", ""),
        ("*", ""),
        (",;,=", ""),
    ],
)
def test_an_answer_is_compressed_as_the_client_allows(accepted: str, chosen: str) -> None:
    assert coding_for(accepted) == chosen
