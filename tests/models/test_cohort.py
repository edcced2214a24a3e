from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from speakerd_server.cards import Card
from speakerd_server.errors import ModelDamaged, ModelUnusable
from speakerd_server.models.bundle import list_shipped, load_bundle, shipped_bundle, write_bundle
from speakerd_server.models.card import read_card
from speakerd_server.models.cohort import COHORT_NAME, cohort_bytes, described, read_cohort

CARD = read_card(shipped_bundle())
DIM = CARD.dim
WIDE, NARROW = np.random.default_rng(0).standard_normal((2, 5, DIM))


def stated(content: bytes, speakers: int = 5) -> Card:
    return replace(CARD, cohort=described(content, speakers, 3, "nobody's voices"))


def put(folder: Path, content: bytes, speakers: int = 5) -> Card:
    (folder / COHORT_NAME).write_bytes(content)
    return stated(content, speakers)


def npz(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def test_a_bundle_keeps_its_cohort_but_for_rounding(tmp_path: Path) -> None:
    content = cohort_bytes(WIDE, NARROW)
    folder = write_bundle(tmp_path / "mine" / "1", stated(content), b"a network", content)
    cohort = load_bundle(folder).cohort
    assert cohort is not None
    assert cohort.top_n == 3
    for kept, given in ((cohort.wide, WIDE), (cohort.narrow, NARROW)):
        exact = given / np.linalg.norm(given, axis=1, keepdims=True)
        np.testing.assert_allclose(kept, exact, atol=5e-4)
        np.testing.assert_allclose(np.linalg.norm(kept, axis=1), 1.0, atol=1e-6)


def test_a_bundle_made_of_another_one_has_no_cohort(tmp_path: Path) -> None:
    content = cohort_bytes(WIDE, NARROW)
    folder = write_bundle(tmp_path, stated(content), b"another network")
    assert read_card(folder).cohort is None
    assert load_bundle(folder).cohort is None


def test_a_cohort_that_is_not_there_or_is_another_one_is_named(tmp_path: Path) -> None:
    card = put(tmp_path, cohort_bytes(WIDE, NARROW))
    (tmp_path / COHORT_NAME).write_bytes(cohort_bytes(NARROW, WIDE))
    with pytest.raises(ModelDamaged, match=r"cohort\.npz is damaged"):
        read_cohort(tmp_path, card)
    (tmp_path / COHORT_NAME).unlink()
    with pytest.raises(ModelUnusable, match=r"cohort\.npz cannot be read"):
        read_cohort(tmp_path, card)


HALF = WIDE.astype(np.float16)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no npz"),
        (b"PK\x05\x06" + b"\0" * 18, "needs wide"),
        (npz(wide=HALF), "needs narrow"),
        (npz(wide=HALF, narrow=WIDE), "needs narrow, float16"),
        (npz(wide=HALF, narrow=HALF[:4]), r"needs narrow, float16\[5, "),
        (npz(wide=HALF, narrow=HALF[:, 1:]), "needs narrow"),
        (npz(wide=HALF, narrow=np.zeros_like(HALF)), "in narrow has no direction"),
        (npz(wide=np.full_like(HALF, np.nan), narrow=HALF), "in wide has no direction"),
        (npz(wide=np.array([object()]), narrow=HALF), "no npz"),
    ],
)
def test_a_file_that_is_no_cohort_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(ModelUnusable, match=problem):
        read_cohort(tmp_path, put(tmp_path, content))


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    whole = cohort_bytes(WIDE, NARROW)
    for length in (10, len(whole) // 2, len(whole) - 30):
        with pytest.raises(ModelUnusable, match="no npz"):
            read_cohort(tmp_path, put(tmp_path, whole[:length]))
    broken = bytearray(whole)
    broken[len(whole) // 3] ^= 0xFF
    assert zipfile.is_zipfile(io.BytesIO(broken))
    with pytest.raises(ModelUnusable, match="no npz"):
        read_cohort(tmp_path, put(tmp_path, bytes(broken)))


@pytest.mark.parametrize("name", list_shipped())
def test_the_shipped_models_have_cohorts_and_say_whose_voices(name: str) -> None:
    bundle = load_bundle(shipped_bundle(name))
    assert bundle.cohort is not None
    assert bundle.cohort.wide.shape == bundle.cohort.narrow.shape == (110, bundle.card.dim)
    assert bundle.card.cohort is not None
    for part in ("LibriSpeech train-clean-100", "Panayotov et al., 2015", "CC BY 4.0"):
        assert part in bundle.card.cohort.origin
    alike = np.sum(bundle.cohort.wide * bundle.cohort.narrow, axis=1)
    assert 0.3 < alike.mean() < 0.99
    assert (shipped_bundle(name) / "cohort.NOTICE").read_text(encoding="utf-8")
