from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_server.audio.ingest import Ingest
from speakerd_server.errors import AudioFileUnusable
from speakerd_server.offline.recordings import read_recording
from speakerd_server.values import AudioFormat, Encoding, Float32
from support.speech import RATE_HZ, eval_ids, eval_utterance, noise, pcm16

PCM8K = AudioFormat(Encoding.PCM16LE, 8000)


@pytest.fixture(scope="module")
def speech() -> Float32:
    return eval_utterance(eval_ids()[3])[:40_000]


def whole(content: bytes, audio_format: AudioFormat) -> Float32:
    ingest = Ingest(audio_format, RATE_HZ)
    return np.concatenate([ingest.push(content), ingest.end()])


def refusal(path: Path, **reading: object) -> str:
    with pytest.raises(AudioFileUnusable) as refused:
        read_recording(path, RATE_HZ, **reading)  # type: ignore[arg-type]
    assert str(path) in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff"])
def test_sixteen_bits_are_read_exactly(tmp_path: Path, speech: Float32, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    soundfile.write(path, speech, RATE_HZ, subtype="PCM_16")
    found = read_recording(path, RATE_HZ)
    assert found.dtype == np.float32
    assert found.tobytes() == speech.tobytes()


@pytest.mark.parametrize("rate_hz", [8000, 11025, 22050, 44100, 48000])
def test_another_rate_gives_the_daemons_numbers(
    tmp_path: Path, speech: Float32, rate_hz: int
) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, speech, rate_hz, subtype="PCM_16")
    expected = whole(pcm16(speech), AudioFormat(Encoding.PCM16LE, rate_hz))
    assert read_recording(path, RATE_HZ).tobytes() == expected.tobytes()


def test_a_long_file_is_read_in_blocks_without_a_seam(tmp_path: Path) -> None:
    samples = noise(40.0)
    soundfile.write(tmp_path / "x.flac", samples, 8000, subtype="PCM_16")
    exact, _ = soundfile.read(tmp_path / "x.flac", dtype="float32")
    found = read_recording(tmp_path / "x.flac", RATE_HZ)
    assert len(exact) > 2 * (1 << 18)
    assert found.tobytes() == whole(pcm16(exact), PCM8K).tobytes()


@pytest.mark.parametrize(
    ("subtype", "tolerance"),
    [("PCM_U8", 2**-7), ("PCM_24", 1e-7), ("PCM_32", 1e-7), ("FLOAT", 0.0), ("DOUBLE", 0.0)],
)
def test_other_samples_are_read_to_their_precision(
    tmp_path: Path, speech: Float32, subtype: str, tolerance: float
) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, speech, RATE_HZ, subtype=subtype)
    np.testing.assert_allclose(read_recording(path, RATE_HZ), speech, atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    ("subtype", "encoding"), [("ULAW", Encoding.MULAW), ("ALAW", Encoding.ALAW)]
)
def test_telephone_laws_in_a_wav_give_the_daemons_numbers(
    tmp_path: Path, speech: Float32, subtype: str, encoding: Encoding
) -> None:
    soundfile.write(tmp_path / "x.wav", speech, 8000, subtype=subtype)
    soundfile.write(tmp_path / "x.raw", speech, 8000, subtype=subtype, format="RAW")
    content = (tmp_path / "x.raw").read_bytes()
    expected = whole(content, AudioFormat(encoding, 8000))
    assert read_recording(tmp_path / "x.wav", RATE_HZ).tobytes() == expected.tobytes()
    raw = AudioFormat(encoding, 8000)
    assert read_recording(tmp_path / "x.raw", RATE_HZ, raw=raw).tobytes() == expected.tobytes()


def test_ogg_is_read(tmp_path: Path, speech: Float32) -> None:
    path = tmp_path / "x.ogg"
    soundfile.write(path, speech, RATE_HZ, format="OGG", subtype="VORBIS")
    found = read_recording(path, RATE_HZ)
    assert len(found) == len(speech)
    assert np.corrcoef(found, speech)[0, 1] > 0.95


@pytest.mark.parametrize("suffix", [".raw", ".pcm", ".sln", ".SLN", ".bin", ""])
def test_raw_samples_are_read_when_their_format_is_told(
    tmp_path: Path, speech: Float32, suffix: str
) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(pcm16(speech))
    found = read_recording(path, RATE_HZ, raw=PCM8K)
    assert found.tobytes() == whole(pcm16(speech), PCM8K).tobytes()


def test_raw_samples_without_a_format_are_refused(tmp_path: Path, speech: Float32) -> None:
    (tmp_path / "x.sln").write_bytes(pcm16(speech))
    assert "--raw pcm16le:8000" in refusal(tmp_path / "x.sln")


def test_a_file_with_a_header_is_read_by_it_beside_raw_ones(
    tmp_path: Path, speech: Float32
) -> None:
    soundfile.write(tmp_path / "x.wav", speech, RATE_HZ, subtype="PCM_16")
    found = read_recording(tmp_path / "x.wav", RATE_HZ, raw=PCM8K)
    assert found.tobytes() == speech.tobytes()


def test_raw_channels_are_taken_apart(tmp_path: Path, speech: Float32) -> None:
    other = noise(len(speech) / RATE_HZ)
    both = np.stack([speech, other[: len(speech)]], axis=1)
    (tmp_path / "x.raw").write_bytes(pcm16(both.ravel()))
    raw = AudioFormat(Encoding.PCM16LE, RATE_HZ)
    path = tmp_path / "x.raw"
    found = read_recording(path, RATE_HZ, channel=0, raw=raw, raw_channels=2)
    assert found.tobytes() == speech.tobytes()
    assert "--channel 0 to 1" in refusal(path, raw=raw, raw_channels=2)
    path.write_bytes(path.read_bytes()[:-2])
    assert "ends inside a sample" in refusal(path, channel=1, raw=raw, raw_channels=2)


def test_raw_bytes_that_end_inside_a_sample_are_refused(tmp_path: Path, speech: Float32) -> None:
    (tmp_path / "x.raw").write_bytes(pcm16(speech)[:-1])
    assert "ended inside a sample" in refusal(tmp_path / "x.raw", raw=PCM8K)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_channel_is_chosen_and_never_mixed(tmp_path: Path, speech: Float32, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    both = np.stack([speech, speech[::-1]], axis=1)
    soundfile.write(path, both, RATE_HZ, subtype="PCM_16")
    for channel in (0, 1):
        found = read_recording(path, RATE_HZ, channel=channel)
        assert found.tobytes() == both[:, channel].tobytes()
    assert "2 channels; choose one with --channel 0 to 1" in refusal(path)
    assert "no channel 2, it has 0 to 1" in refusal(path, channel=2)


def test_a_channel_that_a_mono_file_lacks_is_refused(tmp_path: Path, speech: Float32) -> None:
    soundfile.write(tmp_path / "x.wav", speech, RATE_HZ)
    assert "no channel 1, it has channel 0 only" in refusal(tmp_path / "x.wav", channel=1)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_a_file_without_samples_is_refused(tmp_path: Path, suffix: str) -> None:
    soundfile.write(tmp_path / f"x{suffix}", np.zeros(0, np.float32), RATE_HZ)
    refusal(tmp_path / f"x{suffix}")


def test_an_empty_file_and_empty_raw_audio_are_refused(tmp_path: Path) -> None:
    for name in ("x.wav", "x.raw"):
        (tmp_path / name).touch()
    assert "no audio" in refusal(tmp_path / "x.wav")
    assert "no samples" in refusal(tmp_path / "x.raw", raw=PCM8K)


@pytest.mark.parametrize(("samples", "rate_hz"), [(399, 16000), (198, 8000), (1, 16000)])
def test_less_than_a_frame_is_refused(tmp_path: Path, samples: int, rate_hz: int) -> None:
    soundfile.write(tmp_path / "x.wav", noise(1.0)[:samples], rate_hz)
    assert "at least 25 ms are needed" in refusal(tmp_path / "x.wav")


def test_one_frame_is_enough(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", noise(1.0)[:400], RATE_HZ)
    assert len(read_recording(tmp_path / "x.wav", RATE_HZ)) == 400


@pytest.mark.parametrize(
    ("suffix", "subtype"), [(".wav", "PCM_16"), (".flac", "PCM_16"), (".ogg", "VORBIS")]
)
@pytest.mark.parametrize("part", [0.0005, 0.3, 0.7, 0.999])
def test_a_file_that_is_cut_off_is_refused(
    tmp_path: Path, speech: Float32, suffix: str, subtype: str, part: float
) -> None:
    path = tmp_path / f"x{suffix}"
    soundfile.write(path, speech, RATE_HZ, subtype=subtype)
    content = path.read_bytes()
    path.write_bytes(content[: round(part * len(content))])
    refusal(path)


def wav(data_bytes: int, samples: Float32, mark: bytes = b"RIFF", between: bytes = b"") -> bytes:
    """Write a WAV whose header promises so many bytes of samples."""
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    head = mark + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + between + fmt
    return head + b"data" + struct.pack("<I", data_bytes) + pcm16(samples)


def test_a_wav_whose_header_promises_too_much_is_refused(tmp_path: Path, speech: Float32) -> None:
    (tmp_path / "x.wav").write_bytes(wav(2 * len(speech) + 2, speech))
    told = refusal(tmp_path / "x.wav")
    assert "80002 bytes of audio are promised and 80000 are there" in told


@pytest.mark.parametrize("unknown", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_wav_from_a_pipe_goes_on_to_its_end(
    tmp_path: Path, speech: Float32, unknown: int
) -> None:
    (tmp_path / "x.wav").write_bytes(wav(unknown, speech))
    assert read_recording(tmp_path / "x.wav", RATE_HZ).tobytes() == speech.tobytes()


def test_a_long_wav_says_its_length_in_another_place(tmp_path: Path, speech: Float32) -> None:
    for extra, fine in ((0, True), (2, False)):
        sizes = struct.pack("<QQQI", 0, 2 * len(speech) + extra, 0, 0)
        ds64 = b"ds64" + struct.pack("<I", len(sizes)) + sizes
        (tmp_path / "x.wav").write_bytes(wav(0xFFFFFFFF, speech, b"RF64", ds64))
        if fine:
            assert read_recording(tmp_path / "x.wav", RATE_HZ).tobytes() == speech.tobytes()
        else:
            assert "promised" in refusal(tmp_path / "x.wav")


def test_a_broken_flac_frame_is_refused(tmp_path: Path, speech: Float32) -> None:
    soundfile.write(tmp_path / "x.flac", speech, RATE_HZ, subtype="PCM_16")
    content = bytearray((tmp_path / "x.flac").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = bytes(4000)
    (tmp_path / "x.flac").write_bytes(content)
    refusal(tmp_path / "x.flac")


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e9])
def test_floats_that_are_no_audio_are_refused(
    tmp_path: Path, speech: Float32, wrong: float
) -> None:
    samples = speech.copy()
    samples[1234] = wrong
    soundfile.write(tmp_path / "x.wav", samples, RATE_HZ, subtype="FLOAT")
    assert "sample 1234 is" in refusal(tmp_path / "x.wav")


@pytest.mark.parametrize("rate_hz", [4000, 96000])
def test_a_rate_out_of_range_is_refused(tmp_path: Path, speech: Float32, rate_hz: int) -> None:
    soundfile.write(tmp_path / "x.wav", speech, rate_hz)
    assert f"sample rate {rate_hz} Hz is not supported" in refusal(tmp_path / "x.wav")


def test_what_is_no_file_of_audio_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_text("These are not samples. " * 20)
    assert "no audio" in refusal(tmp_path / "x.wav")
    assert "No such file" in refusal(tmp_path / "none.wav")
    assert "a folder" in refusal(tmp_path)
    assert "no regular file" in refusal(Path("/dev/zero"), raw=PCM8K)


@given(data=st.data())
@settings(deadline=None)
def test_a_damaged_file_gives_finite_samples_or_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    suffix = data.draw(st.sampled_from([".wav", ".flac", ".ogg"]))
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    soundfile.write(path, noise(0.2), RATE_HZ)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, min(len(content), 400) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        found = read_recording(path, RATE_HZ)
    except AudioFileUnusable as error:
        told = str(error)
    else:
        assert len(found) >= 400
        assert np.isfinite(found).all()
        return
    assert str(path) in told
