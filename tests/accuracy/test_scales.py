"""One threshold on asnorm or llr holds over microphones and telephone lines; a cosine does not."""

from __future__ import annotations

import pytest
from bench.scales import PAIRS, all_sides, row
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.score.scales import Scorer

pytestmark = [pytest.mark.accuracy, pytest.mark.timeout(300)]

SECONDS = 4


def test_the_default_thresholds_hold_whatever_the_line_is() -> None:
    bundle = load_bundle(shipped_bundle())
    sides, scorer = all_sides(bundle, [SECONDS]), Scorer(bundle.card, bundle.cohort)
    rows = {pair: row(pair, SECONDS, sides, scorer, bundle.card) for pair in PAIRS}
    assert [one["profile"] for one in rows.values()] == [
        "wide-wide",
        "wide-narrow",
        "narrow-narrow",
    ]
    for one in rows.values():
        for scale in ("asnorm", "llr"):
            assert one[scale]["false_accept_percent"] <= 0.3
            assert one[scale]["false_reject_percent"] <= 1.3
        assert one["asnorm"]["same_speaker_undecided_percent"] <= 2
        assert one["cosine_by_bands"]["false_accept_percent"] <= 0.3
        assert one["cllr"] <= 0.05
    by_line = [one["cosine"]["false_accept_percent"] for one in rows.values()]
    assert by_line[0] == 0
    assert by_line[2] > 1
    assert rows[PAIRS[1]]["cllr_default"] > 5 * rows[PAIRS[1]]["cllr"]
