from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr  # type: ignore[import-untyped]
import speakerd_client
import typer
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from grpc import StatusCode
from grpc_health.v1 import health_pb2
from prometheus_client.metrics import MetricWrapperBase
from speakerd.kserve import inference_pb2
from speakerd.v1 import admin_pb2, audio_pb2, enrollment_pb2, verification_pb2
from speakerd_client.cli.app import app
from speakerd_client.status import CONNECTION_LOST
from speakerd_server import errors, metrics
from speakerd_server.cli.app import speakerd
from speakerd_server.config import CONFIG_VARIABLE, all_settings
from speakerd_server.models.bundle import shipped_bundle
from speakerd_server.models.card import CARD_NAME, read_card
from support.daemon import Daemon
from support.papers import DOCUMENTS, SERVER, blocks, prose, sources, table, text_of
from support.shared import ROOT
from support.speech import VOICES

README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PROTOS_README = ROOT / "protos" / "README.md"
ALL = "\n".join(map(text_of, DOCUMENTS))
BIN = Path(sys.executable).parent
FILES: list[Any] = [
    module.DESCRIPTOR for module in (admin_pb2, audio_pb2, enrollment_pb2, verification_pb2)
]
SERVICES = {
    service.full_name: service
    for file in [*FILES, inference_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR]
    for service in file.services_by_name.values()
}
OURS = [name for name in SERVICES if name.startswith(("speakerd.", "inference."))]
RPCS = {method.name for name in OURS for method in SERVICES[name].methods}
ENUM_VALUES = {
    value.name
    for file in FILES
    for enum in file.enum_types_by_name.values()
    for value in enum.values
}
SHORT_VALUES = {
    value.removeprefix(re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper() + "_")
    for file in FILES
    for enum in file.enum_types_by_name.values()
    for value in (each.name for each in enum.values)
}
REASONS = {
    kind.reason
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.SpeakerdError)
} | {CONNECTION_LOST}
VARIABLES = {setting.variable for setting in all_settings()} | {
    CONFIG_VARIABLE,
    "SPEAKERD_ADDRESS",
    "SPEAKERD_SHARED",
    "SPEAKERD_REQUIRE_SHARED",
    "SPEAKERD_CHECKPOINT",
    # Beginnings of names: what Kubernetes sets, and how a variable is spelt.
    "SPEAKERD_PORT",
    "SPEAKERD_SERVICE",
    "SPEAKERD_SECTION_NAME",
}
OTHER_CAPITALS = {"NOT_SERVING", "S16_LE", "SO_REUSEPORT", "TEST_JOBS"}
PAGE = {
    next(iter(metric.describe())).name
    for metric in vars(metrics).values()
    if isinstance(metric, MetricWrapperBase)
}


def option_names(command: Any) -> set[str]:
    found = {
        name
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    for below in getattr(command, "commands", {}).values():
        found |= option_names(below)
    return found | {"--help"}


def run(command: list[str], folder: Path, address: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"SPEAKERD_ADDRESS": address},
        capture_output=True,
        text=True,
        timeout=18,
    )


def test_the_readme_names_exactly_two_commands_up_front() -> None:
    first = blocks(README, "sh")[0]
    assert first.split("\n") == ["make demo", "make test", ""]
    lines = text_of(README).splitlines()
    assert lines.index("make demo") < 15


def test_the_readme_reaches_a_verdict_by_its_thirtieth_line() -> None:
    lines = text_of(README).splitlines()
    verdict = next(i for i, line in enumerate(lines, 1) if "speakerctl verify" in line)
    assert verdict <= 30


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", prose(path))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (path.parent / target).exists()] == []


def test_every_setting_and_variable_that_a_document_names_exists() -> None:
    settings = {setting.dotted for setting in all_settings()}
    sections = "|".join(sorted({name.split(".")[0] for name in settings}))
    named = set(re.findall(rf"`({sections})\.([a-z_]+)`", ALL))
    assert {".".join(pair) for pair in named} - {"logs.py", "kserve.py"} <= settings
    assert set(re.findall(r"\bSPEAKERD_[A-Z0-9]+(?:_[A-Z0-9]+)*", ALL)) <= VARIABLES


def test_every_metric_that_a_document_names_exists() -> None:
    packages = {"speakerd_server", "speakerd_client", "speakerd_store"}
    named = set(re.findall(r"\bspeakerd_[a-z_]+[a-z]", ALL)) - packages
    bare = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in named}
    assert bare == PAGE


def test_every_rpc_is_described_and_every_described_rpc_exists() -> None:
    rows = re.findall(r"^\| `(\w+Service)` \| (.+) \|$", text_of(PROTOS_README), re.MULTILINE)
    described = {name: set(re.findall(r"`(\w+)`", cell)) for name, cell in rows}
    assert described == {
        SERVICES[name].name: {method.name for method in SERVICES[name].methods} for name in OURS
    }
    verbs = "Stream|Get|List|Update|Delete|Enroll|Load|Unload|Export|Import|OptOut|Allow|Watch"
    called = set(re.findall(rf"`((?:{verbs})[A-Z]\w*)`", ALL))
    messages = {message for file in FILES for message in file.message_types_by_name}
    assert called - messages <= RPCS


def test_whatever_a_document_names_in_capitals_exists() -> None:
    codes = {code.name for code in StatusCode}
    known = ENUM_VALUES | SHORT_VALUES | REASONS | codes | VARIABLES | OTHER_CAPITALS
    named = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", ALL))
    patterns = {"TOO_MANY_", "ENGINE_", "STORE_"}
    assert {name for name in named if name not in known | patterns} == set()


def test_every_event_of_the_log_table_is_written_somewhere() -> None:
    _, _, after = text_of(ROOT / "server" / "README.md").partition("| event | fields | meaning |")
    events = re.findall(r"^\| `([^`]+)` \|", after.split("\n\n", 1)[0], re.MULTILINE)
    code = "\n".join(text_of(path) for path in SERVER.rglob("*.py"))
    assert len(events) >= 8
    assert [event for event in events if f'("{event}"' not in code] == []


def test_every_make_target_is_described_and_every_described_one_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z]+(?:-[a-z]+)?)\b`?", _commands(ALL))) <= targets
    described = set(re.findall(r"`make ([a-z-]+)", text_of(ROOT / "CONTRIBUTING.md")))
    assert targets - {"clean"} <= described


def test_every_bench_is_described_and_run_by_make() -> None:
    benches = {path.name for path in (ROOT / "tests" / "bench").glob("*.py")}
    # It has nothing to run on where there is no GPU.
    benches.remove("gpu.py")
    assert "`tests/bench/gpu.py`" in text_of(CONTRIBUTING)
    rows = re.findall(r"^\| `make bench` \| (.+) \|$", text_of(CONTRIBUTING), re.MULTILINE)
    assert set(re.findall(r"`(\w+\.py)`", rows[0])) == benches
    (loop,) = re.findall(r"for bench in (.+); do \$\(BIN\)", text_of(ROOT / "Makefile"))
    run_by_make = {path.name for pattern in loop.split() for path in ROOT.glob(pattern)}
    assert run_by_make == benches


def test_the_readme_states_the_thresholds_and_error_rates_of_the_card() -> None:
    calibration = tomllib.loads(text_of(shipped_bundle() / CARD_NAME))["calibration"]
    wanted = [
        [
            row["speech"],
            f"{row['same_speaker_trials']}, {row['other_speaker_trials']}",
            f"{row['equal_error_percent']} %",
            f"{row['false_accept_percent']} %",
            f"{row['false_reject_percent']} %",
        ]
        for row in calibration["measured"]
    ]
    assert table(README, "error rates") == wanted
    rates = ", ".join(row[2] for row in wanted)
    assert re.search(
        rf"calibrate\.py`[^|]*\| {re.escape(rates)} \|$", text_of(README), re.MULTILINE
    )
    card = read_card(shipped_bundle())
    assert f"`accept_at`, {card.accept_at:g}, a call is ACCEPT" in text_of(README)
    assert f"`reject_below`, {card.reject_below:g}, it is\nREJECT" in text_of(README)


@pytest.mark.parametrize("name", ["README.md", "NOTICE"])
def test_whose_speech_the_numbers_are_made_from_is_named(name: str) -> None:
    text = text_of(ROOT / name)
    for part in ("LibriSpeech", "Panayotov", "CC BY 4.0", "2015", "openslr.org/12"):
        assert part in text


def test_every_flag_that_a_document_shows_is_one() -> None:
    ours = {"speakerctl": option_names(typer.main.get_command(app)), "speakerd": set[str]()}
    ours["speakerd"] = option_names(speakerd)
    shown = 0
    for line in _commands(ALL).splitlines():
        found = re.search(r"(?:^|[ /])(speakerctl|speakerd) ", line)
        if found:
            flags = set(re.findall(r"(?<= )--[a-z][a-z-]*", line[found.end() - 1 :]))
            assert flags <= ours[found[1]], line
            shown += len(flags)
    assert shown >= 2


def test_every_grpcurl_request_is_one_that_its_rpc_takes() -> None:
    taken = 0
    for block in blocks(PROTOS_README, "sh"):
        method = re.findall(r"(grpc\.health\.v1\.\w+|speakerd\.v1\.\w+)/(\w+)", block)
        bodies = re.findall(r"-d '([^']+)'", block) + re.findall(r"<<JSON\n(.*?)JSON", block, re.S)
        bodies += re.findall(r"echo '([^']+)'", block)
        for (service, name), body in zip(method, bodies, strict=True):
            kind = GetMessageClass(SERVICES[service].methods_by_name[name].input_type)
            json_format.Parse(body.replace("$audio", "AAAA"), kind())
            taken += 1
    assert taken >= 8


def test_the_readme_program_runs(daemon: Daemon, tmp_path: Path) -> None:
    speech, rate_hz = soundfile.read(VOICES / "slt-enrol.flac", dtype="float32")
    soundfile.write(tmp_path / "alice.wav", speech, rate_hz, subtype="PCM_16")
    call, _ = soundfile.read(VOICES / "slt-call.flac", dtype="float32")
    phone = np.clip(soxr.resample(call, rate_hz, 8000), -1.0, 1.0)
    soundfile.write(
        tmp_path / "call.ulaw", phone, 8000, format="RAW", subtype="ULAW", endian="FILE"
    )
    (program,) = blocks(README, "python")
    program = program.replace("127.0.0.1:8001", daemon.address).replace('"alice"', '"readme"')
    done = run([sys.executable, "-c", program], tmp_path, daemon.address)
    assert done.returncode == 0, done.stderr
    assert "ACCEPT" in done.stdout.splitlines()[-1]


def test_the_readme_commands_run(daemon: Daemon, tmp_path: Path) -> None:
    for name, voice in (("first", "rms-enrol"), ("second", "rms-call")):
        speech, rate_hz = soundfile.read(VOICES / f"{voice}.flac", dtype="float32")
        soundfile.write(tmp_path / f"{name}.wav", speech, rate_hz, subtype="PCM_16")
    block = next(block for block in blocks(README, "sh") if "speakerctl enroll" in block)
    commands = [line for line in block.splitlines() if "speakerctl" in line]
    assert len(commands) == 2
    for line in commands:
        words = line.replace(" me ", " readme-me ").split()
        done = run([str(BIN / Path(words[0]).name), *words[1:]], tmp_path, daemon.address)
        assert done.returncode == 0, done.stderr


@pytest.mark.timeout(60)
def test_the_clients_programs_run_in_their_order(own_daemon: Daemon) -> None:
    programs = blocks(ROOT / "client" / "README.md", "python")
    assert len(programs) >= 5
    with own_daemon as daemon:
        for program in programs:
            done = run([sys.executable, "-c", program], ROOT, daemon.address)
            assert done.returncode == 0, done.stderr


def test_what_the_readme_program_imports_is_public() -> None:
    (program,) = blocks(README, "python")
    (names,) = re.findall(r"from speakerd_client import (.+)", program)
    assert set(names.split(", ")) <= set(speakerd_client.__all__)


def test_no_project_file_names_a_place_on_somebodys_machine() -> None:
    places = re.compile("|".join(f"/{name}/" for name in ("work", "root", "home", "Users")))
    papers = [*DOCUMENTS, *sources(), ROOT / "Makefile", ROOT / "pyproject.toml"]
    papers += [path for path in (ROOT / "deploy").rglob("*") if path.suffix in {".toml", ".yaml"}]
    assert [path.name for path in papers if places.search(text_of(path))] == []


def _commands(text: str) -> str:
    """Give what stands in code: fenced shell blocks and inline code."""
    fenced = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"`([^`\n]+)`", text)])
