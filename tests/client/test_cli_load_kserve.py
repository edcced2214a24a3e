"""speakerctl load --kserve: what it prints, what it refuses, and how it exits."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from speakerd_client.cli import load_options
from speakerd_client.cli.app import run
from support.daemon import Daemon
from support.speech import VOICES

CALL = str(VOICES / "slt-call.flac")
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_loop_is_told_as_a_table(
    light: Daemon, capsys: pytest.CaptureFixture[str], tmp_path: Path, protocol: str
) -> None:
    picture = tmp_path / "load.png"
    address = light.http if protocol == "http" else light.address
    arguments = [CALL, "--kserve", protocol, "--concurrency", "1,3", "--seconds", "0.6"]
    assert run(["load", *arguments, "--address", address, "--plot", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"CLOSED LOOP  kserve-{protocol}, 0.6 s each, 0 s not counted"
    assert lines[1] == (
        f"{CALL} as float32le 16000 Hz; throughput in answers per second, times in ms"
    )
    names = next(line.split() for line in lines if "concurrency" in line)
    assert [*names[:2], names[4], names[5], names[7], names[9]] == (
        ["concurrency", "throughput", "average", "p50", "p99", "failed"]
    )
    rows = [line.split() for line in lines if re.match(r"\W*\d", line)]
    assert [row[0] for row in rows] == ["1", "3"]
    assert all(float(row[1]) > 0 for row in rows)
    assert picture.read_bytes().startswith(PNG)


def test_json_is_one_line(
    light: Daemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_options, "HTTP_ADDRESS", light.http)
    assert run(["load", "--kserve", "http", "--seconds", "0.3", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    facts = json.loads(line)
    assert (facts["mode"], facts["kind"]) == ("closed_loop", "kserve-http")
    assert facts["address"] == light.http
    assert facts["tracks"][0]["encoding"] == "float32le"
    assert facts["rows"][0]["throughput"] > 0


def test_an_address_that_is_given_is_asked_over_http_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_options, "HTTP_ADDRESS", "127.0.0.1:2")
    assert run(["load", "--kserve", "http"]) == 3
    assert "no server answers at 127.0.0.1:2" in capsys.readouterr().err
    assert run(["load", "--kserve", "http", "--address", "127.0.0.1:1"]) == 3
    assert "no server answers at 127.0.0.1:1" in capsys.readouterr().err
    monkeypatch.setenv("SPEAKERD_ADDRESS", "127.0.0.1:1")
    assert run(["load", "--kserve", "http"]) == 3
    assert "no server answers at 127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--closed-loop", "embed"], "--closed-loop would do nothing: --kserve"),
        (["--samples-per-chunk", "16000"], "--samples-per-chunk would do nothing"),
        (["--encoding", "mulaw", "--rate", "8000"], "--encoding and --rate would do nothing"),
        (["--speaker", "a"], "--speaker would do nothing"),
        (["--domain", "a"], "--domain would do nothing"),
        (["--streams", "5"], "--streams would do nothing"),
        (["--find-capacity"], "--find-capacity would do nothing"),
        (["--connections", "5"], "--connections would do nothing: over HTTP"),
        (["--concurrency", "0"], "--concurrency must be 1 to"),
    ],
)
def test_what_would_do_nothing_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run(["load", "--kserve", "http", *arguments]) == 2
    told = capsys.readouterr()
    assert words in told.err
    assert told.err.count("\n") == 1


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_no_server_takes_is_one_line_and_3(
    light: Daemon, capsys: pytest.CaptureFixture[str], protocol: str
) -> None:
    right, wrong = light.address, light.http
    if protocol == "http":
        right, wrong = wrong, right
    for arguments, words in (
        (["--address", "127.0.0.1:1"], "no server answers at 127.0.0.1:1"),
        (["--address", wrong], f"what answers at {wrong} speaks"),
        (["--address", right, "--model", "none"], "MODEL_UNKNOWN"),
    ):
        assert run(["load", "--kserve", protocol, *arguments]) == 3
        told = capsys.readouterr()
        assert words in told.err
        assert told.err.count("\n") == 1
        assert told.out == ""
