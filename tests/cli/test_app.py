from __future__ import annotations

import os
import re

import pytest
from click.testing import CliRunner
from speakerd_server import config
from speakerd_server.cli import app
from speakerd_server.life import Addresses


@pytest.mark.parametrize("arguments", ["--workers=300", "--workers 300", "--server-workers=300"])
def test_workers_can_be_given_by_a_short_flag_too(arguments: str) -> None:
    unset: dict[str, str | None] = {key: None for key in os.environ if key.startswith("SPEAKERD_")}
    ended = CliRunner(env=unset).invoke(app.speakerd, ["serve", *arguments.split()])
    assert ended.exit_code == 2
    assert "server.workers" in ended.output
    assert "300 is not between 1 and 256" in ended.output
    assert ended.output.endswith("[SETTING_INVALID]\n")


def test_the_help_names_every_setting_and_both_flags_of_one() -> None:
    shown = CliRunner().invoke(app.speakerd, ["serve", "--help"], terminal_width=200).output
    flags = set(re.findall(r"--[a-z-]+", shown))
    assert {setting.flag for setting in config.all_settings()} <= flags
    assert "--workers, --server-workers" in shown


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (Addresses("a:1", ""), "a:1"),
        (Addresses("a:1", "b:2"), "a:1, metrics on http://b:2/metrics"),
        (Addresses("a:1", "", "c:3"), "a:1, HTTP on http://c:3"),
        (Addresses("a:1", "b:2", "c:3"), "a:1, HTTP on http://c:3, metrics on http://b:2/metrics"),
    ],
)
def test_addresses_are_told_in_one_line(
    found: Addresses, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app._announce(found)
    assert capsys.readouterr().out.endswith(f" serves on {told}\n")
