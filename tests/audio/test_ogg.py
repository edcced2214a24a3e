from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.audio.ogg import LONGEST_PACKET_BYTES, OggReader, Page
from speakerd_server.errors import AudioFileInvalid
from support.opus import changed, ogg_opus, pages
from support.signals import pieces, splits
from support.speech import noise

STREAM = ogg_opus(noise(3.3))
PAGES = pages(STREAM)


def read(*chunks: bytes) -> list[Page]:
    reader = OggReader()
    found = [page for chunk in chunks for page in reader.push(chunk)]
    reader.end()
    return found


@given(st.data())
def test_pages_do_not_depend_on_splits(data: st.DataObject) -> None:
    assert read(*pieces(STREAM, data.draw(splits(len(STREAM))))) == read(STREAM)


def test_every_byte_alone_gives_the_same_pages() -> None:
    assert read(*(bytes([one]) for one in STREAM)) == read(STREAM)


def test_packets_are_those_of_the_file() -> None:
    found = read(STREAM)
    assert len(found) == len(PAGES)
    assert found[0].packets[0].startswith(b"OpusHead")
    assert found[1].packets[0].startswith(b"OpusTags")
    assert [page.is_last for page in found] == [False] * (len(found) - 1) + [True]
    # Packets of 20 ms, with what an encoder adds at both ends.
    assert 165 <= sum(len(page.packets) for page in found[2:]) <= 168


def test_a_packet_over_several_pages_is_put_together() -> None:
    tags = b"OpusTags" + bytes(range(256)) * 400
    body = [255] * 255
    first = changed(PAGES[1], granule=-1)
    first = first[:26] + bytes([255, *body]) + tags[: 255 * 255]
    first = changed(first, flags=0, sequence=1)
    rest = tags[255 * 255 :]
    second = changed(PAGES[1], flags=1, granule=0, sequence=2, body=rest)
    found = read(PAGES[0], first, second)
    assert [page.packets for page in found[1:]] == [(), (tags,)]
    assert found[1].granule == -1


@given(st.integers(0, len(STREAM) - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed(at: int, change: int) -> None:
    broken = bytearray(STREAM)
    broken[at] ^= change
    with pytest.raises(AudioFileInvalid):
        read(bytes(broken))


@pytest.mark.parametrize(
    ("stream", "problem"),
    [
        ([b"RIFF" + bytes(40)], "no Ogg stream"),
        (PAGES[1:], "more than one stream"),
        ([PAGES[0], *PAGES[2:]], "page 2 comes where 1 should"),
        ([*PAGES, PAGES[0]], "after its last page"),
        ([PAGES[0], PAGES[0]], "more than one stream"),
        ([PAGES[0], changed(PAGES[1], serial=7)], "more than one stream"),
        ([PAGES[0], changed(PAGES[1], flags=1)], "a packet has no beginning"),
        ([STREAM[:-1]], "in the middle of a page"),
        ([STREAM[:3]], "in the middle of a page"),
    ],
)
def test_what_is_no_single_whole_stream_is_named(stream: list[bytes], problem: str) -> None:
    with pytest.raises(AudioFileInvalid, match=problem):
        read(*stream)


def test_a_packet_without_end_is_bounded() -> None:
    endless = PAGES[1][:26] + bytes([255] * 256) + bytes(255 * 255)
    more = [
        changed(endless, flags=min(number, 1), granule=-1, sequence=number + 1)
        for number in range(20)
    ]
    with pytest.raises(AudioFileInvalid, match=f"more than {LONGEST_PACKET_BYTES} bytes"):
        read(PAGES[0], *more)


def test_a_stream_that_ends_within_a_packet_is_named() -> None:
    open_end = PAGES[1][:26] + bytes([1, 255]) + bytes(255)
    with pytest.raises(AudioFileInvalid, match="in the middle of a packet"):
        read(PAGES[0], changed(open_end, granule=-1))
