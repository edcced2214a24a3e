from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.cards import Card
from speakerd_server.errors import AudioFileUnusable, ListInvalid, TooFewTrials
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.offline.calibration_speech import Speech, find_recordings, read_speech
from speakerd_server.offline.recordings import Reading
from speakerd_server.values import Float32
from support.speech import RATE_HZ, noise

WINDOW_S = 1.98


@pytest.fixture(scope="module")
def card() -> Card:
    return load_bundle(shipped_bundle()).card


def recordings(folder: Path, count: int, windows: int) -> list[Path]:
    """Write recordings of as many full windows of noise each."""
    paths = [folder / f"{number:03}.wav" for number in range(count)]
    for seed, path in enumerate(paths):
        soundfile.write(path, noise(WINDOW_S * windows + 0.015, seed), RATE_HZ)
    return paths


def read(card: Card, paths: list[Path]) -> Speech:
    return read_speech(card, paths, Reading(), lambda count: None)


def heads(windows: tuple[object, ...]) -> list[Float32]:
    return [window.pcm for window in windows]  # type: ignore[attr-defined]


def test_every_fourth_recording_is_held_out_whole(card: Card, tmp_path: Path) -> None:
    paths = recordings(tmp_path, 9, 2)
    speech = read(card, paths)
    assert (len(speech.calibration), len(speech.held_out), speech.recordings) == (14, 4, 9)
    held = [*read_windows(paths[3]), *read_windows(paths[7])]
    for found, wanted in zip(heads(speech.held_out), held, strict=True):
        np.testing.assert_array_equal(found, wanted)


def read_windows(path: Path) -> list[Float32]:
    samples, _ = soundfile.read(path, dtype="float32")
    hop, length = 31680, 31920
    return [samples[start : start + length] for start in range(0, len(samples) - length + 1, hop)]


def test_of_few_recordings_every_fourth_window_is_held_out(card: Card, tmp_path: Path) -> None:
    speech = read(card, recordings(tmp_path, 2, 5))
    assert (len(speech.calibration), len(speech.held_out)) == (8, 2)


def test_a_file_that_cannot_be_read_is_told_and_the_rest_used(card: Card, tmp_path: Path) -> None:
    paths = recordings(tmp_path, 8, 1)
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no audio at all")
    speech = read(card, [paths[0], broken, *paths[1:]])
    assert [error.path for error in speech.unusable] == [broken]
    assert speech.recordings == 8


def test_silence_is_no_speech_to_quantize_on(card: Card, tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(60 * RATE_HZ, np.float32), RATE_HZ)
    with pytest.raises(TooFewTrials, match="at least 8 windows of speech, there are 0"):
        read(card, [path])


def test_where_no_file_can_be_read_the_first_reason_is_told(card: Card, tmp_path: Path) -> None:
    with pytest.raises(AudioFileUnusable, match=r"absent\.wav"):
        read(card, [tmp_path / "absent.wav", tmp_path / "neither.wav"])


def test_a_folder_gives_its_audio_files_by_name(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/2.FLAC", "a.wav", "b/1.ogg", "notes.txt"):
        (tmp_path / name).touch()
    found = find_recordings(tmp_path, None, None)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "a.wav",
        "b/1.ogg",
        "b/2.FLAC",
    ]


def test_a_folder_without_audio_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ListInvalid, match="no audio file is in this folder"):
        find_recordings(tmp_path, None, None)


def test_a_list_gives_its_paths_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "wav.scp").write_text("x audio/x.wav\ny /y.wav\n")
    found = find_recordings(tmp_path / "wav.scp", Path("/below"), None)
    assert found == (Path("/below/audio/x.wav"), Path("/y.wav"))


@given(count=st.integers(1, 50), limit=st.integers(1, 60))
def test_a_limit_takes_files_from_the_whole_list(
    tmp_path_factory: pytest.TempPathFactory, count: int, limit: int
) -> None:
    scp = tmp_path_factory.mktemp("lists") / "wav.scp"
    scp.write_text("".join(f"{n} {n}.wav\n" for n in range(count)))
    found = [int(path.stem) for path in find_recordings(scp, None, limit)]
    assert len(found) == min(count, limit)
    assert found == sorted(set(found))
    assert count - found[-1] <= -(-count // min(count, limit))
