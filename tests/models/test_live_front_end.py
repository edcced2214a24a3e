from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from typing import Any

import pytest
from speakerd_server.errors import FrontEndDiffers
from speakerd_server.models.front_end import FAMILIES
from speakerd_server.models.live_front_end import ALLOWED, check_wespeaker_front_end

WESPEAKER = FAMILIES["wespeaker"]


@pytest.fixture
def torchaudio(request: pytest.FixtureRequest) -> None:
    """Torchaudio, whose absence is a failure where the export tests were asked for."""
    if "export" not in request.config.getoption("-m"):
        pytest.skip("needs the export extra; run `make test-export`")
    assert importlib.util.find_spec("torchaudio") is not None


@pytest.mark.export
@pytest.mark.timeout(120)
@pytest.mark.parametrize("mel_bins", [80, 40, 24])
def test_the_front_end_is_torchaudio_s(torchaudio: None, mel_bins: int) -> None:
    difference = check_wespeaker_front_end(replace(WESPEAKER, mel_bins=mel_bins))
    assert difference is not None
    assert 0 < difference < ALLOWED / 20


@pytest.mark.export
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "wrong",
    [
        {"window": "povey"},
        {"window": "hanning"},
        {"sample_scale": 1.0},
        {"sample_scale": 32767.0 / 1.1},
        {"low_hz": 0.0},
        {"high_hz": 7600.0},
        {"pre_emphasis": 0.95},
    ],
)
def test_a_wrong_front_end_is_refused(torchaudio: None, wrong: dict[str, Any]) -> None:
    with pytest.raises(FrontEndDiffers, match="nothing was written") as refused:
        check_wespeaker_front_end(replace(WESPEAKER, **wrong))
    assert refused.value.difference > refused.value.allowed == ALLOWED


@pytest.mark.export
@pytest.mark.timeout(120)
def test_the_package_is_neither_loaded_nor_left_replaced(torchaudio: None) -> None:
    before = sys.modules.get("torchaudio")
    check_wespeaker_front_end(WESPEAKER)
    assert sys.modules.get("torchaudio") is before
    assert "speakerd_live_kaldi" not in sys.modules


@pytest.mark.parametrize("broken", [None, "raise OSError('libcudart')", "import no_such_module"])
def test_without_a_working_torchaudio_nothing_is_compared(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, broken: str | None
) -> None:
    found = None
    if broken:
        folder = tmp_path / "torchaudio"
        (folder / "compliance").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise SystemExit\n")
        (folder / "compliance" / "kaldi.py").write_text(f"{broken}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        found = importlib.util.spec_from_file_location(
            "torchaudio", folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    assert check_wespeaker_front_end(WESPEAKER) is None
    assert "torchaudio" not in sys.modules
