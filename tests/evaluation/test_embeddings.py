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
