"""A list of recordings against a running daemon: the right numbers, whatever happens meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from speakerd_client import Client, ListedRecording, NotFound, read_audio, read_wav_scp
from speakerd_client.extracting import ExtractedRecording
from support.daemon import Daemon
from support.shared import shared_path
from support.speech import VOICES, Float32

pytestmark = pytest.mark.timeout(90)
VOICE_FILES = sorted(VOICES.glob("*.flac"))


def voices(times: int = 1) -> list[ListedRecording]:
    return [ListedRecording(f"{n}-{path.stem}", path) for n in range(times) for path in VOICE_FILES]


def output(folder: Path) -> dict[str, Float32]:
    paths = sorted(folder.glob("xvector_*.scp"))
    return {k: v for path in paths for k, v in kaldiio.load_scp(str(path)).items()}


def cosine(one: Float32, other: Float32) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_whole_utterances_are_embedded_as_by_the_models_own_code(
    daemon: Daemon, tmp_path: Path
) -> None:
    listed = read_wav_scp(shared_path("data/trials/wav.scp"), shared_path("."))
    reference = np.load(shared_path("reference/campplus_whole_utterance.npz"))
    with Client(daemon.address) as client:
        items = list(client.extract(listed, tmp_path, samples_per_chunk=-1))
    assert [item.error for item in items] == [None] * 60
    found = output(tmp_path)
    assert list(found) == [each.recording_id for each in listed]
    assert {len(vector) for vector in found.values()} == {192}
    for name, expected in zip(reference["ids"], reference["embeddings"], strict=True):
        assert cosine(found[str(name)], expected) >= 0.99999


def test_windows_are_those_of_a_call_alone(daemon: Daemon, tmp_path: Path) -> None:
    with Client(daemon.address) as client:
        items = list(client.extract(voices(), tmp_path, jobs=3, samples_per_chunk=16000))
        found = output(tmp_path)
        assert list(found) == [each.recording_id for each in voices()]
        for item in items:
            audio = read_audio(item.recording.path)
            alone = client.embed(audio, samples_per_chunk=16000)
            assert item.audio_s == audio.duration_s
            assert item.embedding is not None
            assert item.embedding.window_count == alone.window_count > 1
            vector = found[item.recording.recording_id]
            assert vector.tolist() == list(item.embedding.vector)
            assert cosine(vector, np.array(alone.vector, np.float32)) >= 1 - 1e-6


def test_a_model_that_is_not_loaded_ends_it_at_once(daemon: Daemon, tmp_path: Path) -> None:
    with Client(daemon.address) as client, pytest.raises(NotFound, match="nothing"):
        list(client.extract(voices(), tmp_path / "out", model="nothing"))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with room for one whole recording at a time."""
    with Daemon(tmp_path, "--calls-maximum-unary-calls=1") as running:
        yield running


def test_a_daemon_without_room_is_waited_for(narrow: Daemon, tmp_path: Path) -> None:
    with Client(narrow.address) as client:
        items = list(client.extract(voices(), tmp_path / "out", jobs=4))
    assert [item.error for item in items] == [None] * len(VOICE_FILES)
    assert len(output(tmp_path / "out")) == len(VOICE_FILES)


def test_a_daemon_that_is_killed_and_started_again_is_waited_for(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flag = f"--server-address=127.0.0.1:{port}"
    items: list[ExtractedRecording] = []
    with Client(f"127.0.0.1:{port}") as client:
        with Daemon(tmp_path, flag) as first:
            left = client.extract(voices(times=4), tmp_path / "out", jobs=2)
            items.append(next(left))
            first.kill()
        second = Daemon(tmp_path, flag)
        items += left
        second.wait_until_serving().stop()
    assert [item.error for item in items] == [None] * 4 * len(VOICE_FILES)
    found = output(tmp_path / "out")
    assert list(found) == [each.recording_id for each in voices(times=4)]
    for index, path in enumerate(VOICE_FILES):
        of_file = list(found.values())[index :: len(VOICE_FILES)]
        assert min(cosine(of_file[0], each) for each in of_file) >= 1 - 1e-6, path
