from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.errors import ListInvalid
from speakerd_server.offline.lists import read_fields, read_wav_scp
from support.shared import shared_path


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    return tmp_path / "wav.scp"


def refusal(path: Path, content: bytes) -> ListInvalid:
    path.write_bytes(content)
    with pytest.raises(ListInvalid) as refused:
        read_wav_scp(path)
    assert str(path) in str(refused.value)
    return refused.value


def test_a_real_list_is_read_in_its_order() -> None:
    path = shared_path("data/trials/wav.scp")
    recordings = read_wav_scp(path, path.parents[2])
    assert len(recordings) == 60
    assert recordings[0].id == "1688-142285-0000"
    assert [one.line for one in recordings] == list(range(1, 61))
    assert all(one.path.is_file() for one in recordings)


@pytest.mark.parametrize(
    "content",
    [
        b"a x.wav\nb y.wav\n",
        b"a x.wav\nb y.wav",
        b"\xef\xbb\xbfa x.wav\r\nb y.wav\r\n",
        b"\n  a \t x.wav  \n\n\r\nb y.wav\n\n",
    ],
)
def test_line_ends_marks_and_empty_lines_do_not_matter(listed: Path, content: bytes) -> None:
    listed.write_bytes(content)
    assert [(one.id, one.path) for one in read_wav_scp(listed)] == [
        ("a", Path("x.wav")),
        ("b", Path("y.wav")),
    ]


def test_relative_paths_are_below_the_root_and_absolute_ones_are_not(listed: Path) -> None:
    listed.write_text("a x.wav\nb /else/y.wav\n")
    found = read_wav_scp(listed, Path("/data"))
    assert [one.path for one in found] == [Path("/data/x.wav"), Path("/else/y.wav")]


def test_blanks_of_other_scripts_belong_to_a_name(listed: Path) -> None:
    listed.write_text("王\u3000芳 音\u00a0频.wav\n", encoding="utf-8")
    (one,) = read_wav_scp(listed)
    assert (one.id, one.path) == ("王\u3000芳", Path("音\u00a0频.wav"))


def test_a_line_with_one_field_is_refused_with_its_number(listed: Path) -> None:
    error = refusal(listed, b"a x.wav\n\nb\n")
    assert error.line == 3
    assert "line 3: it has 1 field(s)" in str(error)


def test_a_path_with_blanks_is_to_be_renamed(listed: Path) -> None:
    error = refusal(listed, b"a x.wav\nb my file.wav\n")
    assert error.line == 2
    assert "rename" in str(error)


@pytest.mark.parametrize(
    "line", ["b sox y.mp3 -t wav - |", "b |", "b touch${IFS}ran|", "b touch ran |"]
)
def test_a_command_is_refused_by_name_and_never_run(
    listed: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(listed.parent)
    error = refusal(listed, f"a x.wav\n{line}\n".encode())
    assert error.line == 2
    assert "b is a command" in str(error)
    assert "never runs" in str(error)
    assert not (listed.parent / "ran").exists()


def test_an_id_twice_is_refused_with_both_lines(listed: Path) -> None:
    error = refusal(listed, b"a x.wav\nb y.wav\na z.wav\n")
    assert error.line == 3
    assert "a stands in line 1 already" in str(error)


@pytest.mark.parametrize("content", [b"", b"\n\r\n  \n"])
def test_an_empty_list_is_refused(listed: Path, content: bytes) -> None:
    assert "it is empty" in str(refusal(listed, content))


def test_a_list_that_is_not_utf_8_is_refused(listed: Path) -> None:
    assert refusal(listed, b"a x.wav\nb caf\xe9.wav\n").line == 2
    assert "save it as UTF-8" in str(refusal(listed, "a x.wav\n".encode("utf-16")))


def test_a_missing_list_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ListInvalid, match="No such file"):
        read_wav_scp(tmp_path / "none.scp")
    with pytest.raises(ListInvalid, match="directory"):
        read_wav_scp(tmp_path)


def test_fields_come_with_their_lines_and_only_so_many(listed: Path) -> None:
    listed.write_text("a b\n\na b target\n")
    assert read_fields(listed, {2, 3}, "two ids") == [(1, ["a", "b"]), (3, ["a", "b", "target"])]
    with pytest.raises(ListInvalid, match=r"line 3: it has 3 field\(s\), it must hold two ids"):
        read_fields(listed, {2}, "two ids")


@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_list_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.scp"
    path.write_bytes(content)
    try:
        recordings = read_wav_scp(path)
    except ListInvalid as error:
        told = str(error)
    else:
        assert len({one.id for one in recordings}) == len(recordings) >= 1
        return
    assert str(path) in told
