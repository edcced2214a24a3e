from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from speakerd_server.errors import VectorsUnusable
from speakerd_server.models.mean import read_mean


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


def test_a_missing_mean_and_a_npz_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VectorsUnusable, match="No such file"):
        read_mean(tmp_path / "mean_vec.npy")
    np.savez(tmp_path / "mean.npz", mean=np.ones(3))
    with pytest.raises(VectorsUnusable, match="no npy file of floats"):
        read_mean(tmp_path / "mean.npz")
    with pytest.raises(VectorsUnusable, match="directory"):
        read_mean(tmp_path)
