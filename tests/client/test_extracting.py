"""Extraction for programs: bounded, complete, and ended by what concerns everyone."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Unpack

import kaldiio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_client import (
    Audio,
    Embedding,
    Exhausted,
    ExtractedRecording,
    Health,
    InvalidList,
    InvalidRequest,
    ListedRecording,
    ModelIdentity,
    NotFound,
    NotReachable,
    OutputUnusable,
    ServerFailed,
    SpeakerdError,
    TooSlow,
)
from speakerd_client.call_options import ModelOptions
from speakerd_client.extracting import extract
from speakerd_client.journal import JOURNAL_NAME
from support.disk import mounted

MODEL = ModelIdentity("campplus", "1", "front-end-1")


class Scripted:
    """Embeds like a daemon that fails as a test says; each answer takes a turn of the loop."""

    def __init__(self, fail: Callable[[int], SpeakerdError | None] = lambda samples: None) -> None:
        self.fail = fail
        self.at_once = self.most_at_once = self.calls = 0
        self.options: ModelOptions = {}

    async def embed(self, audio: Audio, **options: Unpack[ModelOptions]) -> Embedding:
        self.calls += 1
        self.options = options
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        samples = len(audio.content) // 2
        error = self.fail(samples)
        if error is not None:
            raise error
        return Embedding("", (float(samples), 1.0), 1, 0, audio.duration_s, MODEL)

    async def health(self) -> Health:
        return Health.SERVING


def listed(folder: Path, count: int) -> list[ListedRecording]:
    """Make recordings of 1000, 1001, ... samples."""
    found = []
    for index in range(count):
        path = folder / f"{index}.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes(bytes(2 * (1000 + index)))
        found.append(ListedRecording(f"utt{index}", path))
    return found


async def all_of(*arguments: Any, **options: Any) -> list[ExtractedRecording]:
    return [item async for item in extract(*arguments, **options)]


def output(folder: Path) -> dict[str, float]:
    paths = sorted(folder.glob("xvector_*.scp"))
    return {k: v[0] for path in paths for k, v in kaldiio.load_scp(str(path)).items()}


@given(st.integers(1, 12), st.integers(1, 16))
def test_everything_comes_once_and_is_written_in_order(
    tmp_path_factory: pytest.TempPathFactory, count: int, jobs: int
) -> None:
    folder = tmp_path_factory.mktemp("extract")
    client = Scripted()
    items = asyncio.run(all_of(client, listed(folder, count), folder / "out", jobs=jobs))
    assert [item.finished for item in items] == list(range(1, count + 1))
    assert {item.recording.recording_id for item in items} == {f"utt{n}" for n in range(count)}
    assert list(output(folder / "out").items()) == [(f"utt{n}", 1000 + n) for n in range(count)]
    assert len(list((folder / "out").iterdir())) == 2 * min(jobs, count)
    assert client.most_at_once <= jobs


async def test_settings_travel(tmp_path: Path) -> None:
    client = Scripted()
    await all_of(client, listed(tmp_path, 1), tmp_path, model="other/2", samples_per_chunk=-1)
    assert client.options == {"model": "other/2", "samples_per_chunk": -1}


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("no voice", reason="AUDIO_WITHOUT_VOICE"),
        InvalidRequest("nothing", reason="NO_AUDIO"),
        InvalidRequest("long", reason="AUDIO_TOO_LONG"),
        InvalidRequest("rate", reason="SAMPLE_RATE_UNSUPPORTED"),
        ServerFailed("batch", reason="ENGINE_BATCH_FAILED"),
        TooSlow("slow"),
        Exhausted("larger than any message"),
    ],
)
async def test_what_concerns_one_recording_stops_no_other(
    tmp_path: Path, error: SpeakerdError
) -> None:
    client = Scripted(lambda samples: error if samples == 1001 else None)
    items = await all_of(client, listed(tmp_path, 3), tmp_path)
    assert {item.recording.recording_id: item.error for item in items} == {
        "utt0": None,
        "utt1": error,
        "utt2": None,
    }
    assert all((item.embedding is None) == (item.error is error) for item in items)
    assert output(tmp_path) == {"utt0": 1000, "utt2": 1002}


@pytest.mark.parametrize(
    "error",
    [
        NotFound("no such model", reason="MODEL_UNKNOWN"),
        InvalidRequest("length", reason="SAMPLES_PER_CHUNK_INVALID"),
        InvalidRequest("a value of the request cannot be sent"),
    ],
)
async def test_what_concerns_every_recording_ends_it_with_what_was_done_kept(
    tmp_path: Path, error: SpeakerdError
) -> None:
    recordings = listed(tmp_path, 40)
    broken = Scripted(lambda samples: error if samples == 1020 else None)
    with pytest.raises(type(error)) as caught:
        await all_of(broken, recordings, tmp_path / "out", jobs=4)
    assert caught.value is error
    assert [path.name for path in (tmp_path / "out").iterdir()] == [JOURNAL_NAME]
    whole = Scripted()
    items = await all_of(whole, recordings, tmp_path / "out", jobs=4)
    assert whole.calls == len(items) < 40
    assert items[-1].finished == 40
    assert list(output(tmp_path / "out")) == [each.recording_id for each in recordings]


async def test_leaving_keeps_what_was_done_and_ends_what_was_under_way(tmp_path: Path) -> None:
    recordings = listed(tmp_path, 30)
    client = Scripted()
    tasks_before = len(asyncio.all_tasks())
    async with aclosing(extract(client, recordings, tmp_path / "out", jobs=5)) as items:
        async for item in items:
            if item.finished == 10:
                break
    assert len(asyncio.all_tasks()) == tasks_before
    assert client.calls <= 15
    left = await all_of(Scripted(), recordings, tmp_path / "out", jobs=5)
    assert 15 <= len(left) <= 20
    assert len(output(tmp_path / "out")) == 30


async def test_a_reader_that_takes_its_time_is_not_overrun(tmp_path: Path) -> None:
    client = Scripted()
    async with aclosing(extract(client, listed(tmp_path, 30), tmp_path / "out", jobs=4)) as items:
        await anext(items)
        await asyncio.sleep(0.2)
        assert client.calls <= 4


async def test_a_recording_that_fails_is_tried_again_by_the_run_that_goes_on(
    tmp_path: Path,
) -> None:
    recordings = listed(tmp_path, 3)
    content = recordings[0].path.read_bytes()
    recordings[0].path.unlink()
    lost = Scripted(lambda samples: NotFound("gone") if samples == 1002 else None)
    with pytest.raises(NotFound):
        await all_of(lost, recordings, tmp_path / "out", jobs=1)
    recordings[0].path.write_bytes(content)
    await all_of(Scripted(), recordings, tmp_path / "out", jobs=1)
    assert output(tmp_path / "out") == {"utt0": 1000, "utt1": 1001, "utt2": 1002}


async def test_no_daemon_is_told_before_any_file_is_read(tmp_path: Path) -> None:
    class Nowhere(Scripted):
        async def health(self) -> Health:
            raise NotReachable("nobody")

    missing = [ListedRecording("a", tmp_path / "none.wav")]
    with pytest.raises(NotReachable):
        await all_of(Nowhere(), missing, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


async def test_a_full_disk_is_told_and_with_room_it_goes_on(tmp_path: Path) -> None:
    recordings = listed(tmp_path, 200)
    with mounted(tmp_path / "disk", 16384) as disk:
        out, filler = disk / "out", disk / "filler"
        out.mkdir()
        filler.write_bytes(bytes(12288))
        with pytest.raises(OutputUnusable, match="No space left on device"):
            await all_of(Scripted(), recordings, out)
        assert [path.name for path in out.iterdir()] == [JOURNAL_NAME]
        filler.unlink()
        with pytest.raises(OutputUnusable, match="No space left on device"):
            await all_of(Scripted(), recordings, out, jobs=2)
        assert [path.name for path in out.iterdir()] == [JOURNAL_NAME]
        copy = tmp_path / "roomy"
        copy.mkdir()
        (copy / JOURNAL_NAME).write_bytes((out / JOURNAL_NAME).read_bytes())
    assert await all_of(Scripted(), recordings, copy, jobs=2) == []
    assert list(output(copy)) == [each.recording_id for each in recordings]


A = ListedRecording("a", Path("a.wav"))


@pytest.mark.parametrize(
    ("kind", "words", "recordings", "options"),
    [
        (InvalidList, "no recording", [], {}),
        (InvalidList, "the id a is listed twice", [A, A], {}),
        (TypeError, "a ListedRecording", ["a.wav"], {}),
        (ValueError, "jobs must be 1 to 256, not 0", [A], {"jobs": 0}),
        (ValueError, "jobs must be 1 to 256, not 257", [A], {"jobs": 257}),
        (TypeError, "jobs", [A], {"jobs": 1.5}),
    ],
)
async def test_a_mistake_is_told_before_anything_is_written(
    tmp_path: Path, kind: type[Exception], words: str, recordings: list[Any], options: Any
) -> None:
    with pytest.raises(kind, match=words):
        await all_of(Scripted(), recordings, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
