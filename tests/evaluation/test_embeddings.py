from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from speakerd_server.errors import ListInvalid, VectorsUnusable
from speakerd_server.evaluation.embeddings import (
    Embeddings,
    mean_of,
    read_cohort,
    read_embeddings,
    read_mean,
)
from speakerd_server.evaluation.trials import Trials, read_trials
from speakerd_server.offline.vectors import write_npz

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3) + 1


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    path = tmp_path / "vectors.npz"
    write_npz(path, ["a", "b", "c", "d"], VALUES)
    return path


@pytest.fixture
def trials(tmp_path: Path) -> Trials:
    path = tmp_path / "trials.txt"
    path.write_text("d b target\nd a nontarget\n")
    return read_trials(path)


def test_only_what_the_trials_name_is_kept(vectors: Path, trials: Trials) -> None:
    found = read_embeddings(vectors, [trials])
    assert found.ids == ("a", "b", "d")
    assert np.array_equal(found.values, VALUES[[0, 1, 3]])
    assert found.row["d"] == 2


def test_an_id_without_embedding_is_told_with_its_line(tmp_path: Path, vectors: Path) -> None:
    path = tmp_path / "other.txt"
    path.write_text("a b target\nnobody a nontarget\n")
    with pytest.raises(ListInvalid, match=r"other\.txt, line 2: nobody is not in .*vectors\.npz"):
        read_embeddings(vectors, [read_trials(path)])


def test_a_mean_is_taken_off_in_float32(vectors: Path, trials: Trials) -> None:
    mean = mean_of(vectors)
    assert mean.dtype == np.float32
    assert mean.tolist() == [5.5, 6.5, 7.5]
    centred = read_embeddings(vectors, [trials]).centred(mean)
    assert centred.values.dtype == np.float32
    assert np.array_equal(centred.values[1], VALUES[1] - mean)


@pytest.mark.parametrize(
    ("values", "mean", "told"),
    [
        (VALUES, np.ones(4, np.float32), "3 values, the mean has 4"),
        (VALUES, VALUES[2], "1 are without a direction.*after the mean.*the first is c"),
        (VALUES * 0, None, "4 are without a direction.*the first is a"),
        (VALUES + np.float32(1e30), None, "too large"),
    ],
)
def test_what_has_no_cosine_is_refused_by_name(
    values: npt.NDArray[np.float32], mean: npt.NDArray[np.float32] | None, told: str
) -> None:
    with pytest.raises(VectorsUnusable, match=told):
        Embeddings(Path("x.scp"), ("a", "b", "c", "d"), values).centred(mean)


def test_a_cohort_of_another_length_is_refused(vectors: Path) -> None:
    assert read_cohort(vectors, 3).ids == ("a", "b", "c", "d")
    with pytest.raises(VectorsUnusable, match="3 values, those of the trials 192"):
        read_cohort(vectors, 192)


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
def test_a_mean_is_read_from_npy(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "mean_vec.npy", np.ones(shape, np.float32))
    assert read_mean(tmp_path / "mean_vec.npy").tolist() == [1, 1, 1]


def save(path: Path, array: object) -> None:
    np.save(path, np.array(array), allow_pickle=True)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.ones((2, 3)), r"the shape \[dim\]"),
        (np.ones(0), "shape"),
        (np.float32(1), "shape"),
        (np.arange(3), "floats"),
        ([1.0, np.nan], "NaN"),
        ([{"harm": 1}], "no npy file of floats, or is damaged$"),
    ],
)
def test_a_mean_that_is_none_is_refused(tmp_path: Path, array: object, told: str) -> None:
    save(tmp_path / "mean_vec.npy", array)
    with pytest.raises(VectorsUnusable, match=told):
        read_mean(tmp_path / "mean_vec.npy")


@pytest.mark.parametrize("keep", [0, 3, 40, 130])
def test_a_truncated_mean_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "mean_vec.npy"
    save(path, np.ones(3, np.float32))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(VectorsUnusable, match="damaged"):
        read_mean(path)


def test_a_missing_mean_and_a_npz_are_refused(tmp_path: Path, vectors: Path) -> None:
    with pytest.raises(VectorsUnusable, match="No such file"):
        read_mean(tmp_path / "mean_vec.npy")
    with pytest.raises(VectorsUnusable, match="one array of floats"):
        read_mean(vectors)
    with pytest.raises(VectorsUnusable, match="directory"):
        read_mean(tmp_path)
