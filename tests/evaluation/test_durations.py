from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from speakerd_server.errors import AudioFileUnusable, ListInvalid
from speakerd_server.evaluation.durations import (
    embed_recordings,
    listed_recordings,
    middle,
    speech_of,
)
from speakerd_server.evaluation.trials import Trials, read_trials
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.offline.embedding import Extractor
from speakerd_server.offline.lists import Listed
from support.speech import RATE_HZ, VOICES, Float32, read


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return Extractor(load_bundle(shipped_bundle()))


def saved(folder: Path, name: str, samples: Float32) -> Listed:
    path = folder / f"{name}.wav"
    soundfile.write(path, samples, RATE_HZ, subtype="FLOAT")
    return Listed(name, path, 1)


def test_the_middle_has_as_much_before_as_behind() -> None:
    samples = np.arange(10, dtype=np.float32)
    cuts = [middle(samples, wanted) for wanted in (4, 5, 10, 11)]
    assert [None if cut is None else cut.tolist() for cut in cuts] == [
        [3, 4, 5, 6],
        [2, 3, 4, 5, 6],
        list(range(10)),
        None,
    ]


def test_recordings_are_embedded_at_each_length_and_whole(
    tmp_path: Path, extractor: Extractor
) -> None:
    voice = read(VOICES / "slt-enrol.flac")[: 3 * RATE_HZ]
    listed = [
        saved(tmp_path, "long", voice),
        saved(tmp_path, "short", voice[: RATE_HZ + 1]),
        saved(tmp_path, "pause", np.concatenate([voice, np.zeros_like(voice), voice])),
    ]
    done: list[int] = []
    found = embed_recordings(
        extractor, tmp_path / "wav.scp", listed, [0.5, 2.0, 60.0], threads=2, told=done.append
    )
    assert list(found) == ["0.5 s", "2 s", "60 s", "whole"]
    assert [one.ids for one in found.values()] == [
        ("long", "short"),
        ("long",),
        (),
        ("long", "short", "pause"),
    ]
    assert done == [1, 1, 1]
    whole, half = found["whole"], found["0.5 s"]
    assert whole.seconds is not None
    assert whole.seconds.tolist() == pytest.approx([3, 1 + 1 / RATE_HZ, 9])
    assert half.seconds is not None
    assert half.seconds.tolist() == [0.5, 0.5]
    assert np.array_equal(whole.values[0], extractor.embed(voice).astype(np.float32))
    cut = extractor.embed(voice[RATE_HZ + RATE_HZ // 4 : -RATE_HZ - RATE_HZ // 4])
    assert np.array_equal(half.values[0], cut.astype(np.float32))
    assert whole.values.dtype == np.float32


@pytest.mark.parametrize(
    ("samples", "told"),
    [(np.zeros(RATE_HZ, np.float32), "no voice"), (np.zeros(0, np.float32), "no samples")],
)
def test_a_recording_without_embedding_is_refused_by_name(
    tmp_path: Path, extractor: Extractor, samples: Float32, told: str
) -> None:
    with pytest.raises(AudioFileUnusable, match=rf"quiet\.wav.*{told}"):
        embed_recordings(extractor, tmp_path, [saved(tmp_path, "quiet", samples)], [])


def trials_of(folder: Path, text: str) -> Trials:
    (folder / "trials.txt").write_text(text)
    return read_trials(folder / "trials.txt")


def test_only_recordings_of_the_trials_are_taken(tmp_path: Path) -> None:
    (tmp_path / "wav.scp").write_text("x x.wav\na a.wav\nb /b.wav\n")
    trials = trials_of(tmp_path, "a b target\nb a nontarget\n")
    listed = listed_recordings(tmp_path / "wav.scp", [trials], Path("root"))
    assert [(one.id, one.path) for one in listed] == [
        ("a", Path("root/a.wav")),
        ("b", Path("/b.wav")),
    ]
    trials = trials_of(tmp_path, "a b target\na z nontarget\n")
    with pytest.raises(ListInvalid, match=r"line 2: z is not in .*wav\.scp"):
        listed_recordings(tmp_path / "wav.scp", [trials])


def test_lengths_are_named_as_cards_name_them() -> None:
    assert [speech_of(one) for one in (2.0, 0.5)] == ["2 s", "0.5 s"]
