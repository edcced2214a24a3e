from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from speakerd_server.errors import OptionInvalid, OutputUnusable, SpeakerdError
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.offline.embedding import Embedded, Extractor
from speakerd_server.offline.extraction import check_output, extract
from speakerd_server.offline.lists import Listed
from speakerd_server.offline.vectors import read_vectors
from support.disk import mounted
from support.speech import RATE_HZ, eval_ids, eval_utterance

SUFFIXES = (".ark", ".txt", ".npz")


class Stopped(Exception):
    """Ends an extraction in the middle."""


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return Extractor(load_bundle(shipped_bundle()), threads=2)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Listed]:
    folder = tmp_path_factory.mktemp("recordings")
    listed = []
    for number, utterance_id in enumerate(eval_ids()[::10]):
        path = folder / f"{number}.wav"
        soundfile.write(path, eval_utterance(utterance_id)[: 30_000 + 5_000 * number], RATE_HZ)
        listed.append(Listed(utterance_id, path, number + 1))
    return listed


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def stop_after(extractor: Extractor, recordings: list[Listed], output: Path, count: int) -> None:
    """Extract, and stop after so many recordings."""
    left = [count]

    def notice(listed: Listed, outcome: Embedded | SpeakerdError) -> None:
        left[0] -= 1
        if not left[0]:
            raise Stopped

    with pytest.raises(Stopped):
        extract(recordings, extractor, output, notice=notice)


def refusal(recordings: list[Listed], extractor: Extractor, output: Path) -> str:
    """Extract; gives why it could not be done, or nothing."""
    try:
        extract(recordings, extractor, output)
    except OutputUnusable as error:
        return str(error)
    return ""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_output_holds_every_recording_in_the_lists_order(
    extractor: Extractor, recordings: list[Listed], tmp_path: Path, suffix: str
) -> None:
    totals = extract(recordings, extractor, tmp_path / f"x{suffix}")
    found = read_vectors(tmp_path / f"x{suffix}")
    assert list(found.ids) == [one.id for one in recordings]
    expected = np.stack([extractor.embed_file(one.path).embedding for one in recordings])
    np.testing.assert_allclose(found.values, expected, rtol=1e-5)
    assert (totals.recordings, totals.embedded, totals.resumed) == (6, 6, 0)
    assert totals.audio_s == totals.new_audio_s == pytest.approx(255_000 / RATE_HZ)
    assert totals.rtf == totals.processing_s / totals.audio_s
    left = {".ark": ["x.ark", "x.scp"]}.get(suffix, [f"x{suffix}"])
    assert list(contents(tmp_path)) == left


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("count", [1, 4, 6])
def test_an_ended_extraction_goes_on_and_gives_the_same_bytes(
    extractor: Extractor,
    recordings: list[Listed],
    tmp_path: Path,
    suffix: str,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = Path(f"x{suffix}")
    for name in ("whole", "ended"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    extract(recordings, extractor, output)
    monkeypatch.chdir(tmp_path / "ended")
    stop_after(extractor, recordings, output, count)
    assert list(contents(tmp_path / "ended")) == [f"x{suffix}.partial"]
    totals = extract(recordings, extractor, output)
    assert totals.resumed == count
    assert totals.embedded == 6
    assert (totals.rtf is None) == (count == 6)
    assert contents(tmp_path / "ended") == contents(tmp_path / "whole")


def test_a_recording_that_failed_is_tried_again_and_comes_to_its_place(
    extractor: Extractor, recordings: list[Listed], tmp_path: Path
) -> None:
    late = Listed("late", tmp_path / "late.wav", 1)
    listed = [late, *recordings]
    stop_after(extractor, listed, tmp_path / "x.npz", 4)
    soundfile.write(late.path, eval_utterance(eval_ids()[1]), RATE_HZ)
    totals = extract(listed, extractor, tmp_path / "x.npz")
    assert totals.failures == []
    assert totals.resumed == 3
    assert list(read_vectors(tmp_path / "x.npz").ids) == [one.id for one in listed]


def test_what_failed_is_told_in_order_and_left_out(
    extractor: Extractor, recordings: list[Listed], tmp_path: Path
) -> None:
    gone = [Listed(f"gone{n}", tmp_path / f"gone{n}.wav", n) for n in range(2)]
    told: list[str] = []
    totals = extract(
        [gone[0], recordings[0], gone[1]],
        extractor,
        tmp_path / "x.txt",
        notice=lambda listed, outcome: told.append(listed.id),
    )
    assert told == ["gone0", recordings[0].id, "gone1"]
    assert [failure.listed for failure in totals.failures] == gone
    assert read_vectors(tmp_path / "x.txt").ids == (recordings[0].id,)


def test_nothing_is_written_where_nothing_was_embedded(
    extractor: Extractor, tmp_path: Path
) -> None:
    totals = extract([Listed("a", tmp_path / "a.wav", 1)], extractor, tmp_path / "x.ark")
    assert totals.embedded == 0
    assert totals.rtf is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", ["x.ark", "x.scp"])
def test_what_is_there_already_is_not_replaced_unasked(
    extractor: Extractor, recordings: list[Listed], tmp_path: Path, there: str
) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(OutputUnusable, match="there already; give --overwrite"):
        extract(recordings[:1], extractor, tmp_path / "x.ark")
    assert contents(tmp_path) == {there: b"mine"}
    extract(recordings[:1], extractor, tmp_path / "x.ark", overwrite=True)
    assert len(read_vectors(tmp_path / "x.scp").ids) == 1


def test_another_list_or_other_windows_do_not_go_on_unasked(
    extractor: Extractor, recordings: list[Listed], tmp_path: Path
) -> None:
    output = tmp_path / "x.ark"
    stop_after(extractor, recordings, output, 2)
    with pytest.raises(OutputUnusable, match="another list"):
        extract(recordings[1:], extractor, output)
    other = Extractor(load_bundle(shipped_bundle()), samples_per_chunk=48000)
    with pytest.raises(OutputUnusable, match=r"another samples_per_chunk \(32000, now 48000\)"):
        extract(recordings, other, output)
    assert extract(recordings[1:], extractor, output, overwrite=True).resumed == 0
    assert len(read_vectors(output).ids) == 5


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_fills_up_at_any_point_is_gone_on_from(
    extractor: Extractor, recordings: list[Listed], tmp_path: Path, suffix: str
) -> None:
    extract(recordings, extractor, tmp_path / f"whole{suffix}")
    with mounted(tmp_path / "disk", 64 << 10) as disk:
        output, ballast = disk / f"x{suffix}", disk / "ballast"
        told: list[str] = []
        for room in (0, 4096, 8192, 12288):
            ballast.write_bytes(bytes((60 << 10) - room))
            told.append(refusal(recordings, extractor, output))
            ballast.unlink()
            if not told[-1]:
                break
        assert "No space left" in told[0]
        assert all("No space left" in one for one in told[:-1])
        if not output.exists():
            extract(recordings, extractor, output)
        assert output.read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
        assert not list(disk.glob("*.partial")) + list(disk.glob(".*"))


@pytest.mark.parametrize("name", ["x", "x.scp", "x.npy", "x.ARK", "x.ark.gz"])
def test_an_output_of_another_kind_is_refused(name: str) -> None:
    with pytest.raises(OptionInvalid, match=r"must end with \.txt, \.ark, \.npz"):
        check_output(Path(name))


def test_an_ark_that_no_scp_could_name_is_refused() -> None:
    with pytest.raises(OptionInvalid, match="blanks"):
        check_output(Path("my folder/x.ark"))
    check_output(Path("my folder/x.npz"))


def test_the_list_itself_is_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(OptionInvalid, match="would be replaced"):
        check_output(tmp_path / "wav.ark", tmp_path / "." / "wav.scp")
    check_output(tmp_path / "out.ark", tmp_path / "wav.scp")
