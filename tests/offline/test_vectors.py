from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from speakerd_server.errors import ListInvalid, OutputUnusable, VectorsUnusable
from speakerd_server.offline.vectors import Vectors, read_vectors, write_ark, write_npz, write_text
from speakerd_server.values import Float32

IDS = ("ann-1", "bob", "王芳")
VALUES = np.random.default_rng(3).standard_normal((3, 5)).astype(np.float32)
WRITERS: dict[str, Callable[[Path, list[tuple[str, Float32]]], None]] = {
    ".ark": lambda path, named: write_ark(path, path.with_suffix(".scp"), named),
    ".txt": write_text,
    ".npz": lambda path, named: write_npz(
        path, [name for name, _ in named], np.stack([row for _, row in named])
    ),
}


def pairs() -> list[tuple[str, Float32]]:
    return list(zip(IDS, VALUES, strict=True))


def refusal(path: Path) -> str:
    with pytest.raises(VectorsUnusable) as refused:
        read_vectors(path)
    assert str(path) in str(refused.value)
    return str(refused.value)


def assert_same(found: Vectors, exact: bool = True) -> None:
    assert found.ids == IDS
    assert found.values.dtype == np.float32
    if exact:
        assert found.values.tobytes() == VALUES.tobytes()
    np.testing.assert_allclose(found.values, VALUES, rtol=1e-5)


@pytest.mark.parametrize("suffix", [".ark", ".npz", ".txt"])
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    WRITERS[suffix](path, pairs())
    # 6 significant digits in the text.
    assert_same(read_vectors(path), exact=suffix != ".txt")
    assert sorted(p.suffix for p in tmp_path.iterdir()) in ([suffix], [".ark", ".scp"])


def test_a_scp_finds_its_ark_by_the_path_in_it(tmp_path: Path) -> None:
    write_ark(tmp_path / "x.ark", tmp_path / "x.scp", pairs())
    assert_same(read_vectors(tmp_path / "x.scp"))


def test_a_relative_ark_is_looked_for_here_and_then_beside_the_scp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exp").mkdir()
    write_ark(Path("exp/x.ark"), Path("exp/x.scp"), pairs())
    assert_same(read_vectors(Path("exp/x.scp")))
    scp = tmp_path / "exp" / "x.scp"
    scp.write_text(scp.read_text().replace("exp/x.ark", "x.ark"))
    monkeypatch.chdir("/")
    assert_same(read_vectors(scp))
    (tmp_path / "exp" / "x.ark").unlink()
    assert "ann-1 is in x.ark, which cannot be read" in refusal(scp)


def test_a_scp_may_take_some_in_another_order_from_several_arks(tmp_path: Path) -> None:
    for name, row in pairs():
        write_ark(tmp_path / f"{name}.ark", tmp_path / f"{name}.scp", [(name, row)])
    lines = [(tmp_path / f"{name}.scp").read_text() for name in ("bob", "ann-1", "bob", "王芳")]
    lines[2] = lines[2].replace("bob ", "bob-again ")
    (tmp_path / "all.scp").write_text("".join(lines))
    found = read_vectors(tmp_path / "all.scp")
    assert found.ids == ("bob", "ann-1", "bob-again", "王芳")
    np.testing.assert_array_equal(found.values, VALUES[[1, 0, 1, 2]])


def test_doubles_are_rounded_and_text_arks_are_read(tmp_path: Path) -> None:
    exact = [0.1, -2.5, 1e-3]
    double = b"a \0BDV \4" + struct.pack("<i3d", 3, *exact)
    (tmp_path / "d.ark").write_bytes(double)
    (tmp_path / "t.ark").write_bytes(b"a  [ 0.1 -2.5 1e-3 ]\nb  [ 1 2 3 ]\n")
    expected = np.array(exact, np.float32)
    np.testing.assert_array_equal(read_vectors(tmp_path / "d.ark").values[0], expected)
    text = read_vectors(tmp_path / "t.ark")
    np.testing.assert_array_equal(text.values, [expected, [1, 2, 3]])
    (tmp_path / "t.scp").write_text(f"b {tmp_path}/t.ark:23\n")
    assert (tmp_path / "t.ark").read_bytes()[23:].startswith(b" [ 1")
    np.testing.assert_array_equal(read_vectors(tmp_path / "t.scp").values, [[1, 2, 3]])


def test_the_text_is_what_cpp_prints(tmp_path: Path) -> None:
    row = np.array([1e-5, 123456789.0, 0.1, -1.0, 100000.0, 1234567.0, 0.0001], np.float32)
    write_text(tmp_path / "x.txt", [("a", row)])
    expected = b"a 1e-05 1.23457e+08 0.1 -1 100000 1.23457e+06 0.0001\n"
    assert (tmp_path / "x.txt").read_bytes() == expected


@pytest.mark.parametrize("suffix", [".ark", ".npz"])
def test_a_file_cut_anywhere_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    WRITERS[suffix](whole, pairs())
    content = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    entry_ends = {content.find(f"{name} ".encode()) for name in IDS[1:]}
    for length in range(len(content)):
        cut.write_bytes(content[:length])
        if suffix == ".ark" and length in entry_ends:
            assert len(read_vectors(cut).ids) in (1, 2)
        else:
            refusal(cut)


def test_an_ark_cut_inside_a_vector_names_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.ark"
    WRITERS[".ark"](path, pairs())
    path.write_bytes(path.read_bytes()[:-3])
    told = refusal(path)
    assert "王芳: the file is cut off: 5 values are promised, 17 bytes are left" in told
    told = refusal(path.with_suffix(".scp"))
    assert "王芳" in told
    assert "cut off" in told


def test_an_offset_that_is_none_is_refused(tmp_path: Path) -> None:
    write_ark(tmp_path / "x.ark", tmp_path / "x.scp", pairs())
    for offset in ("2", "1000000", "0", "9" * 20, "9" * 5000):
        (tmp_path / "y.scp").write_text(f"a {tmp_path}/x.ark:{offset}\n")
        assert "a, in " in refusal(tmp_path / "y.scp")
    (tmp_path / "y.scp").write_text(f"a {tmp_path}/x.ark:6[0:3]\n")
    assert "part of a matrix" in refusal(tmp_path / "y.scp")
    (tmp_path / "y.scp").write_text("a copy-vector ark:x.ark ark:- |\n")
    with pytest.raises(ListInvalid, match="never runs"):
        read_vectors(tmp_path / "y.scp")


def test_an_ark_that_cannot_be_read_is_refused_with_its_own_reason(tmp_path: Path) -> None:
    (tmp_path / "y.scp").write_text(f"a {tmp_path}:6\n")
    assert "Is a directory" in refusal(tmp_path / "y.scp")


def test_a_matrix_is_refused_as_one(tmp_path: Path) -> None:
    (tmp_path / "x.ark").write_bytes(b"a \0BFM \4" + struct.pack("<i", 1) + b"\4" + bytes(20))
    assert "a: there is a matrix (FM)" in refusal(tmp_path / "x.ark")


@pytest.mark.parametrize("suffix", [".ark", ".npz", ".txt"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused_with_its_id(
    tmp_path: Path, suffix: str, wrong: float
) -> None:
    named = pairs()
    row = named[1][1].copy()
    row[2] = wrong
    named[1] = ("bob", row)
    WRITERS[suffix](tmp_path / f"x{suffix}", named)
    assert "bob has a value that is NaN or infinite" in refusal(tmp_path / f"x{suffix}")


def test_a_double_too_large_for_float32_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.ark").write_bytes(b"a \0BDV \4" + struct.pack("<id", 1, 1e300))
    assert "NaN or infinite" in refusal(tmp_path / "d.ark")


@pytest.mark.parametrize("suffix", [".ark", ".npz", ".txt"])
def test_an_id_twice_is_refused(tmp_path: Path, suffix: str) -> None:
    WRITERS[suffix](tmp_path / f"x{suffix}", [*pairs(), ("bob", VALUES[0])])
    assert "the id bob is there twice" in refusal(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("suffix", [".ark", ".txt"])
def test_two_lengths_are_refused(tmp_path: Path, suffix: str) -> None:
    WRITERS[suffix](tmp_path / f"x{suffix}", [*pairs(), ("eve", VALUES[0][:3])])
    assert "eve has 3 values, the first has 5" in refusal(tmp_path / f"x{suffix}")


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"ids": np.array(IDS)}, "embeddings"),
        ({"ids": np.array(IDS), "embeddings": VALUES[0]}, "shape"),
        ({"ids": np.array(IDS[:2]), "embeddings": VALUES}, "shape"),
        ({"ids": np.arange(3), "embeddings": VALUES}, "must be text"),
        ({"ids": np.array(IDS), "embeddings": VALUES.astype(int)}, "floats"),
        ({"ids": np.array(IDS, object), "embeddings": VALUES}, "pickle"),
        ({"ids": np.array([], np.str_), "embeddings": VALUES[:0]}, "no embedding"),
    ],
)
def test_a_npz_of_something_else_is_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], told: str
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
    assert told in refusal(tmp_path / "x.npz")


def test_a_pickle_named_npz_is_not_opened(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    calling_out = f"cbuiltins\nopen\n(V{ran}\nVw\ntR.".encode()
    (tmp_path / "x.npz").write_bytes(calling_out)
    assert "no zip" in refusal(tmp_path / "x.npz")
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as archive:
        archive.writestr("ids.npy", calling_out)
        archive.writestr("embeddings.npy", calling_out)
    refusal(tmp_path / "y.npz")
    assert not ran.exists()


@pytest.mark.parametrize("name", ["none.ark", "none.npz", "none.txt"])
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    assert "No such file" in refusal(tmp_path / name)


def test_a_folder_and_another_suffix_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.ark").mkdir()
    assert "directory" in refusal(tmp_path / "x.ark")
    assert ".scp, .ark, .npz, .txt" in refusal(tmp_path / "x.npy")


@pytest.mark.parametrize("content", ["a 1 2\nb 1 x\n", "a 1 2\nb 1,2\n"])
def test_text_that_is_no_numbers_is_refused_with_its_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.txt").write_text(content)
    assert "line 2 is not an id and numbers" in refusal(tmp_path / "x.txt")


@pytest.mark.parametrize("suffix", [".ark", ".npz", ".txt"])
def test_an_output_that_cannot_be_written_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "none" / f"x{suffix}"
    with pytest.raises(OutputUnusable, match="No such file"):
        WRITERS[suffix](path, pairs())


def test_a_writer_that_fails_midway_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("before")
    with pytest.raises(AttributeError):
        write_text(path, [*pairs(), ("eve", None)])  # type: ignore[list-item]
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@given(
    values=npst.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 6)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_any_finite_values_come_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, values: Float32
) -> None:
    folder = tmp_path_factory.getbasetemp()
    named = [(f"id{i}", row) for i, row in enumerate(values)]
    for suffix in (".ark", ".npz"):
        WRITERS[suffix](folder / f"any{suffix}", named)
        found = read_vectors(folder / f"any{suffix}")
        assert found.values.tobytes() == values.tobytes()
    WRITERS[".txt"](folder / "any.txt", named)
    printed = read_vectors(folder / "any.txt").values
    np.testing.assert_allclose(printed, values, rtol=5.1e-6, atol=1e-44)


@pytest.mark.parametrize("suffix", [".ark", ".npz", ".txt", ".scp"])
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = folder / f"damaged{suffix}"
    if suffix == ".scp":
        write_ark(folder / "damaged.ark", path, pairs())
    else:
        WRITERS[suffix](path, pairs())
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        found = read_vectors(path)
    except (VectorsUnusable, ListInvalid) as error:
        told = str(error)
    else:
        assert np.isfinite(found.values).all()
        return
    assert str(path) in told
