from __future__ import annotations

import math

import pytest
from speakerd.v1 import audio_pb2
from speakerd_server.errors import PolicyInvalid
from speakerd_server.quality.limits import LIMITS, QualitySettings
from speakerd_server.values import Band, Quality
from speakerd_server.wire.quality_convert import (
    quality_limits,
    wire_band,
    wire_limits,
    wire_quality,
)

USUAL = QualitySettings(minimum_snr_db=7, maximum_clipping_share=0.25, minimum_level_dbfs=-55)


def test_what_a_policy_leaves_unset_is_the_setting_and_zero_is_not_unset() -> None:
    assert quality_limits(audio_pb2.QualityPolicy(), USUAL) == USUAL
    zeros = audio_pb2.QualityPolicy(
        minimum_snr_db=0, maximum_clipping_share=0, minimum_level_dbfs=0
    )
    assert quality_limits(zeros, USUAL) == QualitySettings(0, 0, 0)
    one = audio_pb2.QualityPolicy(minimum_level_dbfs=-70)
    assert quality_limits(one, USUAL) == QualitySettings(7, 0.25, -70)


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_holds_up_to_the_ends_of_its_range_and_is_refused_by_name_beyond(name: str) -> None:
    lowest, highest = LIMITS[name]["minimum"], LIMITS[name]["maximum"]
    for value in (lowest, highest):
        found = quality_limits(audio_pb2.QualityPolicy(**{name: value}), USUAL)
        assert getattr(found, name) == value
    for value in (lowest - 0.001, highest + 0.001, math.nan, math.inf, -math.inf):
        with pytest.raises(PolicyInvalid, match=f"quality.{name}: .* is not between"):
            quality_limits(audio_pb2.QualityPolicy(**{name: value}), USUAL)


def test_limits_come_back_as_they_were_sent() -> None:
    sent = wire_limits(USUAL)
    assert all(sent.HasField(name) for name in ("minimum_snr_db", "minimum_level_dbfs"))
    assert quality_limits(sent, QualitySettings()) == USUAL


def test_what_is_not_known_of_audio_is_unset_and_not_zero() -> None:
    assert wire_quality(None) is None
    found = wire_quality(Quality(None, 0.5, None))
    assert found is not None
    assert not found.HasField("snr_db")
    assert not found.HasField("level_dbfs")
    assert found.clipping_share == 0.5
    known = wire_quality(Quality(0.0, 0.0, -20.5))
    assert known is not None
    assert known.HasField("snr_db")
    assert (known.snr_db, known.level_dbfs) == (0.0, -20.5)


@pytest.mark.parametrize(
    ("band", "sent"),
    [
        (None, audio_pb2.BAND_UNSPECIFIED),
        (Band.WIDE, audio_pb2.BAND_WIDE),
        (Band.NARROW, audio_pb2.BAND_NARROW),
    ],
)
def test_bands_have_their_names(band: Band | None, sent: audio_pb2.Band.ValueType) -> None:
    assert wire_band(band) == sent
