"""Error rates of the shipped model through `speakerd evaluate`, held to those of its card."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from speakerd_server.cli.app import speakerd
from support.shared import shared_path

pytestmark = [pytest.mark.accuracy, pytest.mark.timeout(300)]


def test_error_falls_with_the_length_of_speech_as_the_card_says() -> None:
    wav_scp = shared_path("data/trials/wav.scp")
    trials = shared_path("data/trials/all_pairs.txt")
    result = CliRunner().invoke(
        speakerd,
        [
            *("evaluate", "--trials", str(trials), "--wav-scp", str(wav_scp), "--json"),
            *("--wav-root", str(shared_path("data").parent), "--durations", "1,2,4,8"),
        ],
    )
    assert result.exit_code == 0, result.output
    rows = {row["speech"]: row for row in json.loads(result.stdout)["lists"][0]["results"]}
    percents = {speech: row["equal_error_percent"] for speech, row in rows.items()}
    assert percents == {
        "1 s": pytest.approx(2.59, abs=0.5),
        "2 s": pytest.approx(0, abs=0.4),
        "4 s": 0,
        "8 s": 0,
        "whole": 0,
    }
    assert rows["1 s"]["speakers"] == 6
    assert rows["1 s"]["minimum_cllr"] < 0.12
    low, high = rows["1 s"]["equal_error_interval_percent"]
    assert low < percents["1 s"] < high
    assert [rows[one]["trials"] for one in ("1 s", "2 s", "whole")] == [1770] * 3
    assert rows["4 s"]["trials"] == 1770 - rows["4 s"]["left_out_trials"] > 900
