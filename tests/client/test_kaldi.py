"""Lists of recordings and arks are Kaldi's, as kaldiio reads and writes them."""

from __future__ import annotations

import struct
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_client import InvalidList, ListedRecording, read_wav_scp
from speakerd_client.kaldi import float_vector, pair_files, vector_bytes, write_pairs

IDS = st.text(
    st.characters(exclude_categories=["Z", "C"]).filter(lambda c: not c.isspace()),
    min_size=1,
    max_size=12,
)
FLOATS = st.floats(width=32, allow_nan=False)


@given(st.lists(FLOATS, max_size=300))
def test_a_vector_is_a_mark_the_length_and_little_endian_float32(values: list[float]) -> None:
    written = float_vector(values)
    expected = b"\0BFV \4" + struct.pack("<i", len(values)) + np.array(values, "<f4").tobytes()
    assert written == expected
    assert len(written) == vector_bytes(len(values))


@given(
    st.dictionaries(IDS, st.lists(FLOATS, min_size=3, max_size=3), min_size=1, max_size=6),
    st.integers(1, 3),
)
def test_pairs_are_byte_for_byte_those_of_kaldiio(
    tmp_path_factory: pytest.TempPathFactory, vectors: dict[str, list[float]], parts: int
) -> None:
    folder = tmp_path_factory.mktemp("pairs")
    items = list(vectors.items())
    cut = [items[part::parts] for part in range(parts)]
    write_pairs(folder, [[(name, float_vector(v)) for name, v in part] for part in cut])
    ours = {path.name: path.read_bytes() for path in pair_files(folder)}
    assert len(ours) == len(list(folder.iterdir())) == 2 * parts
    for index, part in enumerate(cut):
        stem = f"{folder}/xvector_{index:03d}"
        with kaldiio.WriteHelper(f"ark,scp:{stem}.ark,{stem}.scp") as writer:
            for name, values in part:
                writer(name, np.array(values, np.float32))
    assert ours == {path.name: path.read_bytes() for path in pair_files(folder)}
    read = {k: v for i in range(parts) for k, v in _read(folder, i)}
    assert {k: v.tolist() for k, v in read.items()} == vectors


def _read(folder: Path, index: int) -> list[tuple[str, np.ndarray]]:
    if not (folder / f"xvector_{index:03d}.scp").stat().st_size:
        return []
    return list(kaldiio.load_scp(f"{folder}/xvector_{index:03d}.scp").items())


def test_lists_name_their_arks_by_absolute_paths_that_keep_blanks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "two words"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    write_pairs(Path("two words"), [[("a", float_vector([1.0])), ("b", float_vector([2.0]))]])
    monkeypatch.chdir("/")
    assert {k: v.tolist() for k, v in _read(folder, 0)} == {"a": [1.0], "b": [2.0]}


def test_new_pairs_replace_all_old_ones_and_nothing_else(tmp_path: Path) -> None:
    write_pairs(tmp_path, [[("a", float_vector([1.0]))], [("b", float_vector([2.0]))]])
    others = ["xvector.scp", "xvector_000.txt", "my_xvector_000.ark", "xvector_00.ark"]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / "xvector_007.ark.new").write_text("left by a crash")
    write_pairs(tmp_path, [[("c", float_vector([3.0]))]])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(["xvector_000.ark", "xvector_000.scp", *others])


def test_a_failure_while_writing_leaves_the_old_pairs(tmp_path: Path) -> None:
    def failing() -> list[tuple[str, bytes]]:
        raise OSError(28, "No space left on device")

    write_pairs(tmp_path, [[("a", float_vector([1.0]))]])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def parts() -> object:
        yield [("b", float_vector([2.0]))]
        yield failing()

    with pytest.raises(OSError, match="No space"):
        write_pairs(tmp_path, parts())  # type: ignore[arg-type]
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


@given(
    st.lists(st.tuples(IDS, IDS), min_size=1, max_size=8, unique_by=lambda pair: pair[0]),
    st.sampled_from([" ", "\t", "  \t "]),
    st.sampled_from(["\n", "\r\n", "\n\n", " \n"]),
    st.booleans(),
)
def test_a_list_is_read_in_its_order(
    tmp_path_factory: pytest.TempPathFactory,
    pairs: list[tuple[str, str]],
    blank: str,
    end: str,
    marked: bool,
) -> None:
    pairs = [(name, file.strip("|") or "file") for name, file in pairs]
    path = tmp_path_factory.getbasetemp() / "wav.scp"
    text = "".join(f"{name}{blank}{file}{end}" for name, file in pairs)
    path.write_bytes(b"\xef\xbb\xbf" * marked + text.encode())
    read = read_wav_scp(path, "data")
    assert [(each.recording_id, each.path) for each in read] == [
        (name, Path("data") / file) for name, file in pairs
    ]


def test_absolute_paths_stay_and_relative_ones_are_below_the_data_folder(tmp_path: Path) -> None:
    path = tmp_path / "wav.scp"
    path.write_text("a /far/a.wav\nb near/b.wav\n")
    assert [str(each.path) for each in read_wav_scp(path)] == ["/far/a.wav", "near/b.wav"]
    assert [str(each.path) for each in read_wav_scp(path, "d")] == ["/far/a.wav", "d/near/b.wav"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"\n \n", "it is empty"),
        (b"a a.wav\nb\n", r"line 2: it has 1 field, it must hold an id and the path"),
        (b"a a b.wav\n", "line 1: it has 3 fields.*rename the file"),
        (b"a a.wav\n\nb b.wav\na c.wav\n", "line 4: the id a stands in line 1 already"),
        (b"a sph2pipe -f wav a.sph |\n", r"line 1: sph2pipe -f wav a.sph \| is a command"),
        (b"a cat|\n", "is a command.*never runs"),
        (b"a |cat\n", "is a command"),
        (b"a a.wav\n\xff b.wav\n", "line 2: it is no UTF-8 text"),
        ("a a.wav\n".encode("utf-16"), "no UTF-8 text; save it as UTF-8"),
        (b"a a\0.wav\n", "no UTF-8 text"),
        ("a\u3000b a.wav\n".encode(), "line 1: a recording's id"),
    ],
)
def test_a_wrong_list_is_refused_with_its_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "wav.scp"
    path.write_bytes(content)
    with pytest.raises(InvalidList, match=words) as caught:
        read_wav_scp(path)
    assert str(caught.value).startswith(str(path))


def test_a_list_that_is_missing_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InvalidList, match="cannot be read"):
            read_wav_scp(path)


@given(st.binary(max_size=60))
def test_no_bytes_make_the_reader_of_lists_fail_without_a_name(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.scp"
    path.write_bytes(content)
    try:
        read = read_wav_scp(path)
    except InvalidList:
        return
    assert len({each.recording_id for each in read}) == len(read) > 0


@pytest.mark.parametrize("recording_id", ["", " ", "a b", "a\n", "a\u00a0b", "a\0"])
def test_an_id_that_no_ark_can_hold_is_refused(recording_id: str) -> None:
    with pytest.raises(ValueError, match="no blank"):
        ListedRecording(recording_id, Path("a.wav"))
