from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_server.audio.opus import OpusDecoder
from speakerd_server.audio.opus_ingest import OpusIngest
from speakerd_server.errors import AudioFileInvalid, ChannelsUnsupported, ChannelUnknown, NoAudio
from speakerd_server.values import Float32, OggOpus
from support.opus import changed, decoded, ogg_opus, pages
from support.signals import pieces, splits
from support.speech import VOICES, read

SPEECH = read(VOICES / "slt-call.flac")[:70_000]
MONO = ogg_opus(SPEECH)
BOTH = ogg_opus(np.stack([SPEECH, 0.5 * SPEECH[::-1]], axis=1))
PAGES = pages(MONO)


def opened(*chunks: bytes, **wanted: Any) -> Float32:
    decoder = OpusDecoder(OggOpus(**wanted))
    parts = [decoder.push(chunk) for chunk in chunks]
    decoder.end()
    samples = np.concatenate([*parts, np.empty(0, np.float32)])
    assert decoder.samples == len(samples)
    return samples


def header(**fields: int) -> bytes:
    """Give the first page with other fields."""
    wanted = {"version": 1, "channels": 1, "skip": 312, "rate": 16_000, "gain": 0, "mapping": 0}
    body = struct.pack("<8sBBHIhB", b"OpusHead", *(wanted | fields).values())
    return changed(PAGES[0], body=body)


def test_a_stream_is_what_libsndfile_reads_of_the_file() -> None:
    samples = opened(MONO)
    assert len(samples) == len(SPEECH)
    assert np.abs(samples - decoded(MONO)[:, 0]).max() < 1e-6


@pytest.mark.parametrize("channel", [1, 2])
def test_the_chosen_channel_of_two_is_heard(channel: int) -> None:
    samples = opened(BOTH, channel=channel)
    assert np.abs(samples - decoded(BOTH)[:, channel - 1]).max() < 1e-6


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_what_comes_out_does_not_depend_on_splits(data: st.DataObject) -> None:
    found = opened(*pieces(MONO, data.draw(splits(len(MONO)))))
    assert np.array_equal(found, opened(MONO))


def test_every_byte_alone_gives_the_same_samples() -> None:
    assert np.array_equal(opened(*(bytes([one]) for one in MONO)), opened(MONO))


@pytest.mark.parametrize("rate_hz", [8_000, 24_000, 48_000])
def test_whatever_it_was_made_of_it_comes_out_at_16_khz(rate_hz: int) -> None:
    made = np.sin(np.arange(2 * rate_hz) * 2 * np.pi * 440 / rate_hz).astype(np.float32) * 0.5
    samples = opened(ogg_opus(made, rate_hz))
    assert len(samples) == 32_000
    spectrum = np.abs(np.fft.rfft(samples[8_000:24_000]))
    assert abs(int(spectrum.argmax()) - 440) <= 1


def test_a_stream_that_nobody_ended_is_heard_to_its_last_page() -> None:
    whole, open_ended = opened(MONO), opened(*PAGES[:-1])
    assert 0 < len(open_ended) < len(whole)
    assert np.array_equal(open_ended, whole[: len(open_ended)])


def test_a_stream_that_was_joined_late_begins_where_it_begins() -> None:
    late = [
        *PAGES[:2],
        *(
            changed(page, granule=int.from_bytes(page[6:14], "little") + 480_000)
            for page in PAGES[2:]
        ),
    ]
    assert np.array_equal(opened(*late), opened(MONO))


def test_the_gain_of_the_header_is_applied() -> None:
    louder = opened(header(gain=6 * 256), *PAGES[1:])
    assert np.allclose(louder, opened(MONO) * 10 ** (6 / 20), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("stream", "wanted", "error", "problem"),
    [
        ([], {}, NoAudio, "no audio"),
        (PAGES[:1], {}, AudioFileInvalid, "it has no audio"),
        ([header(version=16), PAGES[1]], {}, AudioFileInvalid, "version 16"),
        ([header(channels=3), PAGES[1]], {}, ChannelsUnsupported, "3"),
        ([header(mapping=1), PAGES[1]], {}, AudioFileInvalid, "mapping 1"),
        ([changed(PAGES[0], body=b"\x01vorbis" + bytes(23))], {}, AudioFileInvalid, "else than"),
        ([changed(PAGES[0], body=b"OpusHead")], {}, AudioFileInvalid, "else than Opus"),
        ([PAGES[0], changed(PAGES[1], body=b"nothing")], {}, AudioFileInvalid, "comments"),
        ([MONO], {"channels": 2}, ChannelsUnsupported, "2"),
        ([MONO], {"channel": 2}, ChannelUnknown, "2"),
        ([BOTH], {}, ChannelUnknown, "channel"),
        ([*PAGES[:2], changed(PAGES[2], body=b"")], {}, AudioFileInvalid, "is damaged"),
        ([*PAGES[:2], changed(PAGES[2], body=b"\xff\xff")], {}, AudioFileInvalid, "is damaged"),
        ([MONO[:-5]], {}, AudioFileInvalid, "in the middle of a page"),
        ([*PAGES[:-1], changed(PAGES[-1], granule=0)], {}, AudioFileInvalid, "before it begins"),
        ([*PAGES[:-1], changed(PAGES[-1], granule=-1)], {}, AudioFileInvalid, "before it begins"),
        (
            [*PAGES[:2], changed(PAGES[2], granule=2**63 - 1), *PAGES[3:]],
            {},
            AudioFileInvalid,
            "before it begins",
        ),
    ],
)
def test_bad_streams_are_named(
    stream: list[bytes], wanted: dict[str, int], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        opened(*stream, **wanted)


def test_an_ingest_is_cut_to_the_sample_and_hears_nothing_behind_it() -> None:
    whole = opened(MONO)
    ingest = OpusIngest(OggOpus(), 20_000)
    first = [ingest.push(page) for page in PAGES[:4]]
    assert ingest.full
    assert np.array_equal(np.concatenate(first), whole[:20_000])
    assert ingest.push(b"no Ogg at all").size == 0
    assert ingest.end().size == 0
    assert ingest.received_samples == 20_000


def test_a_decoder_gives_its_memory_back() -> None:
    import resource

    def used() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    for _ in range(50):
        opened(*PAGES[:3])
    before = used()
    for _ in range(1_000):
        opened(*PAGES[:3])
    assert used() - before < 20_000  # kB; a thousand states of 20 kB would be as much
