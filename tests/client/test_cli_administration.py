"""speakerctl for those who operate a daemon: models, sessions, drain, resume, status."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from speakerd_client import AudioFormat, Client, read_audio
from speakerd_client.cli.app import run
from support.daemon import Daemon
from support.scripted import Answers, Requests, scripted
from support.speech import VOICES

CALL = read_audio(VOICES / "slt-call.flac")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of its own: what is ordered here must not reach other tests."""
    folder = tmp_path_factory.mktemp("operated")
    with Daemon(folder, "--calls-domains=default,other") as running:
        yield running


@pytest.fixture(autouse=True)
def address(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SPEAKERD_ADDRESS", daemon.address)
    return daemon.address


def lines_of(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_model_is_loaded_listed_and_unloaded(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "load", "campplus-int8"]) == 0
    assert capsys.readouterr().out.startswith("LOADED  campplus-int8/1 on cpu  ")
    assert run(["models", "load", "campplus-int8", "--version", "1"]) == 0
    assert capsys.readouterr().out == "LOADED  campplus-int8/1 on cpu  it was loaded already\n"
    assert run(["models"]) == 0
    bare = capsys.readouterr().out
    assert run(["models", "list"]) == 0
    assert capsys.readouterr().out == bare
    head, first, second = bare.splitlines()
    assert head.split()[:2] == ["MODEL", "STATUS"]
    assert first.startswith("campplus/1       LOADED  default, its name  cpu")
    assert second.startswith("campplus-int8/1  LOADED  its name           cpu")
    assert run(["models", "unload", "campplus-int8"]) == 0
    assert capsys.readouterr().out == "UNLOADED  campplus-int8/1\n"


def test_models_in_json_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "load", "campplus-int8/1", "--json"]) == 0
    (loaded,) = lines_of(capsys.readouterr().out)
    assert loaded["load_s"] > 0
    assert loaded["model"]["status"] == "loaded"
    assert run(["models", "--json"]) == 0
    models = lines_of(capsys.readouterr().out)
    assert [each["identity"]["name"] for each in models] == ["campplus", "campplus-int8"]
    assert models[1]["devices"][0]["chosen_batch_windows"] >= 1
    assert run(["models", "unload", "campplus-int8", "--version", "1", "--json"]) == 0
    (unloaded,) = lines_of(capsys.readouterr().out)
    assert (unloaded["status"], unloaded["open_calls"]) == ("unloaded", 0)


def test_another_default_lets_the_first_model_go(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "load", "campplus-int8", "--make-default"]) == 0
    assert capsys.readouterr().out.endswith(" s  the default\n")
    assert run(["models", "unload", "campplus"]) == 0
    assert run(["models", "load", "campplus", "--make-default"]) == 0
    assert run(["models", "unload", "campplus-int8"]) == 0


def test_an_unloading_model_says_how_many_calls_hold_it(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", "load", "campplus-int8"]) == 0
    with (
        Client(address) as client,
        client.stream_verify(None, CALL.format, model="campplus-int8"),
    ):
        capsys.readouterr()
        assert run(["models", "unload", "campplus-int8"]) == 0
    assert capsys.readouterr().out == "UNLOADING  campplus-int8/1  1 call still holds it\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["models", "load", "nothing"], "[MODEL_UNKNOWN]"),
        (["models", "load", "campplus", "--version", "99"], "'campplus/99'"),
        (["models", "load", ""], "NAME or NAME/VERSION"),
        (["models", "load", "campplus/1", "--version", "1"], "leave out --version"),
        (["models", "load", "campplus-int8", "--device", "gpu:7"], "the daemon has cpu"),
        (["models", "load"], "Missing argument 'NAME'"),
        (["models", "unload", "campplus"], "[MODEL_IS_DEFAULT]"),
        (["models", "unload", "campplus-int8"], "is loaded; there is campplus/1"),
        (["models", "unload", "\x1b[2J"], "no model"),
        (["models", "--json", "load", "campplus"], "options come after `models load`"),
        (["models", "wrong"], "No such command 'wrong'"),
        (["sessions", "--domain", "nowhere"], "[DOMAIN_UNKNOWN]"),
        (["sessions", "--interval", "0.01"], "--interval"),
        (["drain", "--wait", "3601"], "--wait"),
        (["drain", "--address", "127.0.0.1:1"], "no daemon answers at 127.0.0.1:1"),
        (["resume", "--address", "127.0.0.1:1"], "no daemon answers at 127.0.0.1:1"),
        (["sessions", "--address", "127.0.0.1:1"], "no daemon answers at 127.0.0.1:1"),
        (["models", "--address", "127.0.0.1:1"], "no daemon answers at 127.0.0.1:1"),
    ],
)
def test_errors_are_one_line_and_exit_with_three(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("speakerctl: ")
    assert words in told.err
    assert told.err.count("\n") == 1
    assert "\x1b" not in told.err


def test_drain_and_resume_take_the_daemon_out_of_service_and_back(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["drain"]) == 0
    assert capsys.readouterr().out == "DRAINING  no calls go on\n"
    assert run(["status"]) == 1
    assert f"{address}  NOT_SERVING (draining)\n" in capsys.readouterr().out
    assert run(["verify", "a", str(VOICES / "slt-call.flac")]) == 3
    assert "[DRAINING]" in capsys.readouterr().err
    assert run(["resume", "--json"]) == 0
    assert lines_of(capsys.readouterr().out) == [{"draining": False, "open_calls": 0}]
    assert run(["status"]) == 0


def test_a_drain_that_waits_in_vain_exits_with_one(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(address) as client:
        with client.stream_verify(None, AudioFormat()):
            assert run(["drain", "--wait", "0.1"]) == 1
            assert capsys.readouterr().out == "DRAINING  1 call goes on\n"
            assert run(["drain"]) == 0
        assert run(["drain", "--wait", "10", "--json"]) == 0
        told = lines_of(capsys.readouterr().out.splitlines()[-1])
        assert told == [{"draining": True, "open_calls": 0}]
        assert run(["resume"]) == 0
        assert capsys.readouterr().out == "SERVING  no calls go on\n"


def test_status_shows_what_the_devices_did(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(address) as client:
        client.embed(CALL)
    assert run(["status"]) == 0
    facts, models, work, sizes = capsys.readouterr().out.split("\n\n")
    assert f"daemon    {address}  SERVING" in facts
    assert "streams   0 of at most 1000" in facts
    assert models.splitlines()[1].startswith("campplus/1")
    assert work.splitlines()[1].split()[:3] == ["campplus/1", "cpu", "UP"]
    assert work.splitlines()[1].endswith(" ms")
    assert sizes.splitlines()[0].split()[2:] == ["CHOSEN", "MEAN", "BATCHES", "BY", "WINDOWS"]
    assert run(["status", "--json"]) == 0
    (told,) = lines_of(capsys.readouterr().out)
    (device,) = told["models"][0]["devices"]
    assert device["offline_windows"] > 0
    assert device["offline_queue_s"] > 0
    assert sum(each["batches"] for each in device["batch_sizes"]) == device["batches"]
    assert told["server"]["processes"] == []


@pytest.mark.timeout(60)
def test_status_shows_the_processes_of_a_daemon_of_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Daemon(tmp_path, "--server-workers=2") as several:
        assert run(["status", "--address", several.address]) == 0
        _, processes, *_ = capsys.readouterr().out.split("\n\n")
        assert run(["status", "--address", several.address, "--json"]) == 0
    rows = [line.split("  ")[0] for line in processes.splitlines()]
    assert rows == ["PROCESS", *(each for each in rows[1:])]
    assert set(rows[1:]) == {"store", "engine cpu", "worker 0", "worker 1"}
    (told,) = lines_of(capsys.readouterr().out)
    assert all(each["pid"] > 0 and each["restarts"] == 0 for each in told["server"]["processes"])


@pytest.mark.parametrize(
    "arguments", [["models", "load", "a"], ["models", "unload", "a"], ["drain"], ["sessions"]]
)
async def test_a_server_without_the_call_is_told_so(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    async def script(requests: Requests, context: Any) -> Answers:
        return
        yield

    async with scripted(script) as old:
        assert await asyncio.to_thread(run, [*arguments, "--address", old]) == 3
    told = capsys.readouterr().err
    assert f"what answers at {old} does not offer this call" in told
    assert told.count("\n") == 1


def test_a_pipe_gets_the_answer_and_nothing_else(address: str) -> None:
    for arguments in (["models"], ["models", "load", "campplus"], ["sessions"], ["status"]):
        command = [sys.executable, "-m", "speakerd_client", *arguments]
        done = subprocess.run(command, capture_output=True, env=os.environ)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.endswith(b"\n")
        assert b"\x1b" not in done.stdout
