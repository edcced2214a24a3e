from __future__ import annotations

import pytest
from speakerd_server.quality.limits import QualitySettings, poor
from speakerd_server.values import Quality

LIMITS = QualitySettings(minimum_snr_db=5, maximum_clipping_share=0.1, minimum_level_dbfs=-50)


@pytest.mark.parametrize(
    ("quality", "said"),
    [
        (None, ""),
        (Quality(5.0, 0.1, -50.0), ""),
        (Quality(None, 0.0, None), ""),
        (Quality(4.9, 0.5, -70.0), "signal-to-noise ratio is 4.9 dB, under the 5 dB"),
        (Quality(30.0, 0.25, -70.0), "25.0 % of it is clipped, more than the 10 %"),
        (Quality(30.0, 0.0, -51.0), "level is -51.0 dBFS, under the -50 dBFS"),
    ],
)
def test_the_limit_that_is_missed_is_named_with_its_numbers(
    quality: Quality | None, said: str
) -> None:
    found = poor(quality, LIMITS)
    assert said in found
    assert bool(found) == bool(said)
