from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from speakerd_server.logs import JsonLines, LogSettings, configure

SERVER = logging.getLogger("speakerd_server")


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, ours = root.handlers[:], root.level, SERVER.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    SERVER.setLevel(ours)


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("speakerd_server.x", logging.INFO, "x.py", 1, message, args, None)
    vars(made).update(extra)
    return made


def test_a_record_is_one_line_of_json_with_time_in_utc() -> None:
    line = JsonLines().format(record("call refused", rpc="Verify", reason="NO_AUDIO"))
    assert "\n" not in line
    event = json.loads(line)
    assert event.pop("time").endswith("+00:00")
    assert event == {
        "level": "info",
        "event": "call refused",
        "rpc": "Verify",
        "reason": "NO_AUDIO",
    }


def test_a_message_cannot_break_out_of_its_line() -> None:
    line = JsonLines().format(record('bad\n{"event": "forged"}', request_id="a\r\nb\u2028c"))
    assert len(line.splitlines()) == 1
    assert json.loads(line)["request_id"] == "a\r\nb\u2028c"


def test_arguments_are_filled_in_and_odd_values_are_written_as_text() -> None:
    event = json.loads(JsonLines().format(record("%d speakers", 3, path=Path("speakerd.db"))))
    assert event["event"] == "3 speakers"
    assert event["path"] == "speakerd.db"


def test_a_failure_brings_its_traceback() -> None:
    formatter = JsonLines()
    failed = record("rpc failed")
    try:
        raise ValueError("no such thing")
    except ValueError as error:
        failed.exc_info = (type(error), error, error.__traceback__)
    event = json.loads(formatter.format(failed))
    assert event["traceback"].endswith("ValueError: no such thing")


@pytest.mark.usefixtures("restored")
def test_the_level_is_for_speakerd_and_libraries_only_warn(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure(LogSettings(level="info"))
    SERVER.debug("too fine")
    SERVER.info("serving")
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("some.library").warning("odd")
    said = capsys.readouterr()
    assert said.out == ""
    assert [json.loads(line)["event"] for line in said.err.splitlines()] == ["serving", "odd"]


@pytest.mark.usefixtures("restored")
def test_configuring_twice_writes_each_event_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings())
    configure(LogSettings(level="error"))
    SERVER.info("serving")
    SERVER.error("engine died")
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events == ["engine died"]
