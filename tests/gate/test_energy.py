from __future__ import annotations

import numpy as np
import pytest
from speakerd_server.gate.energy import FLOOR_DBFS, loud_enough
from support.signals import noise


@pytest.mark.parametrize(("above_db", "loud"), [(-1.0, False), (1.0, True)])
def test_the_floor_is_where_it_says(above_db: float, loud: bool) -> None:
    frame = noise(512).astype(np.float64)
    frame *= 10 ** ((FLOOR_DBFS + above_db) / 20) / frame.std()
    assert loud_enough(frame.astype(np.float32)[None]).tolist() == [loud]


def test_a_constant_is_no_sound() -> None:
    assert not loud_enough(np.full((2, 512), 0.9, np.float32)).any()


def test_a_frame_is_judged_by_itself() -> None:
    frames = np.stack([noise(512, seed) * 10 ** -(seed / 3) for seed in range(12)])
    together = loud_enough(frames)
    assert 0 < together.sum() < 12
    assert [bool(loud_enough(one[None])[0]) for one in frames] == together.tolist()
