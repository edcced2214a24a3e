"""G.711 codes: inverse to what the daemon decodes, and the same as another implementation's."""

from __future__ import annotations

import io
import sys
from array import array
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from speakerd_client.load import g711
from speakerd_server.audio.decode import Decoder
from speakerd_server.values import AudioFormat, Encoding

EVERY_SAMPLE = np.arange(-32_768, 32_768).astype("<i2")
Encode = Callable[["array[int]"], bytes]
LAWS = [
    pytest.param(Encoding.MULAW, g711.mulaw_of, g711.mulaw_values, "ULAW", id="mulaw"),
    pytest.param(Encoding.ALAW, g711.alaw_of, g711.alaw_values, "ALAW", id="alaw"),
]


def samples(values: np.ndarray) -> array[int]:
    return array("h", values.astype(np.int16).tobytes())


@pytest.mark.parametrize(("encoding", "encode", "values", "subtype"), LAWS)
def test_every_code_means_what_the_daemon_decodes(
    encoding: Encoding, encode: Encode, values: Callable[[], tuple[int, ...]], subtype: str
) -> None:
    heard = Decoder(AudioFormat(encoding, 8000)).push(bytes(range(256)))
    assert (heard * 32_768).tolist() == list(values())


@pytest.mark.parametrize(("encoding", "encode", "values", "subtype"), LAWS)
def test_every_code_comes_back_from_its_own_value(
    encoding: Encoding, encode: Encode, values: Callable[[], tuple[int, ...]], subtype: str
) -> None:
    again = encode(array("h", values()))
    changed = {code: back for code, back in enumerate(again) if code != back}
    assert changed == ({0x7F: 0xFF} if encoding is Encoding.MULAW else {})


@pytest.mark.parametrize(("encoding", "encode", "values", "subtype"), LAWS)
def test_every_sample_becomes_the_code_that_libsndfile_gives(
    encoding: Encoding, encode: Encode, values: Callable[[], tuple[int, ...]], subtype: str
) -> None:
    written = io.BytesIO()
    soundfile.write(written, EVERY_SAMPLE, 8000, format="RAW", subtype=subtype)
    assert encode(samples(EVERY_SAMPLE)) == written.getvalue()


@pytest.mark.parametrize(("encoding", "encode", "values", "subtype"), LAWS)
def test_the_codes_of_growing_samples_mean_growing_values(
    encoding: Encoding, encode: Encode, values: Callable[[], tuple[int, ...]], subtype: str
) -> None:
    meant = np.array(values())[list(encode(samples(EVERY_SAMPLE)))]
    assert (np.diff(meant) >= 0).all()
    assert len(set(meant.tolist())) == len(set(values()))


def test_numbers_travel_in_little_endian() -> None:
    assert g711.little_endian(array("h", [1, -2])) == b"\x01\x00\xfe\xff"
    assert g711.little_endian(array("f", [1.0])) == b"\x00\x00\x80\x3f"


def test_numbers_of_a_big_endian_machine_are_turned_round(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = array("h", [1])
    monkeypatch.setattr(sys, "byteorder", "big")
    assert g711.little_endian(kept) == b"\x00\x01"
    assert kept == array("h", [1])
