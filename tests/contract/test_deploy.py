from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from speakerd_server.config import all_settings, load
from support.daemon import Daemon
from support.papers import text_of
from support.shared import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE = text_of(DEPLOY / "Dockerfile")
COMPOSE = text_of(DEPLOY / "compose.yaml")
UNIT = text_of(DEPLOY / "systemd" / "speakerd.service")
GRACE_S = load().server.drain_grace_s


def probe(address: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DEPLOY / "healthcheck.py"), address], capture_output=True, text=True
    )


def test_the_probe_tells_a_serving_daemon(daemon: Daemon) -> None:
    done = probe(daemon.address)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_probe_tells_that_nobody_answers() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = probe(f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 1
    assert done.stderr.startswith("no health from 127.0.0.1:")
    assert "UNAVAILABLE" in done.stderr


def test_the_demo_s_voices_come_with_their_licence() -> None:
    licence = text_of(DEPLOY / "demo" / "voices" / "LICENSE")
    owners = ("Carnegie Mellon University", "Centre for Speech Technology Research", "Cepstral")
    for owner in (
        *owners,
        "Nagoya Institute",
        "Henry Spencer",
        "Markus Mummert",
        "Sun Microsystems",
    ):
        assert owner in licence
    assert "1. The code must retain the above copyright notice" in licence
    assert "deploy/demo/voices/LICENSE" in text_of(ROOT / "NOTICE")
    paper = text_of(DEPLOY / "demo" / "voices" / "README.md")
    assert "](LICENSE)" in paper
    assert not re.search(r"/usr/|SPDX", paper + licence)


def test_whoever_supervises_waits_longer_than_the_grace() -> None:
    (container_s,) = re.findall(r"^    stop_grace_period: (\d+)s$", COMPOSE, re.MULTILINE)
    (unit_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    assert int(container_s) >= GRACE_S + 10
    assert int(unit_s) >= GRACE_S + 10


def test_sigterm_is_what_stops_it_everywhere() -> None:
    assert "\nSTOPSIGNAL SIGTERM\n" in DOCKERFILE
    assert "\nKillSignal=SIGTERM\n" in UNIT
    assert "stop_signal" not in COMPOSE


def test_the_image_runs_as_nobody_in_particular_and_installs_by_the_one_script() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert "sh deploy/install.sh ${INSTALL} /opt/speakerd/bin/python" in DOCKERFILE
    assert DOCKERFILE.count("pip install") == 0


def test_whatever_the_image_copies_reaches_its_builder() -> None:
    taken = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    names = [name for line in taken for name in line.split()]
    allowed = text_of(ROOT / ".dockerignore").splitlines()
    assert len(names) >= 6
    for name in names:
        assert (ROOT / name).exists()
        assert f"!{name}" in allowed


@pytest.mark.parametrize("text", [DOCKERFILE, COMPOSE, UNIT], ids=["image", "compose", "unit"])
def test_every_variable_that_is_set_is_a_setting(text: str) -> None:
    known = {setting.variable for setting in all_settings()} | {"SPEAKERD_CONFIG"}
    named = set(re.findall(r"\bSPEAKERD_[A-Z_]+", text))
    assert named
    assert named <= known


def test_the_ports_are_the_defaults_and_published_on_loopback_alone() -> None:
    ports = re.findall(r'^      - "([\d.]+):(\d+):(\d+)"$', COMPOSE, re.MULTILINE)
    settings = load()
    wanted = [settings.kserve.http_address]
    wanted += [settings.server.address, settings.server.metrics_address]
    assert [f"{host}:{inner}" for host, _, inner in ports] == wanted
    assert f"EXPOSE {' '.join(inner for _, _, inner in ports)}\n" in DOCKERFILE


def test_containers_and_units_can_write_to_their_store_alone() -> None:
    for line in ("read_only: true", "cap_drop:\n      - ALL", "no-new-privileges:true"):
        assert line in COMPOSE
    for line in ("DynamicUser=yes", "StateDirectory=speakerd", "ProtectSystem=strict"):
        assert f"\n{line}\n" in UNIT
    assert "SPEAKERD_STORE_PATH=/var/lib/speakerd/" in DOCKERFILE
    assert "- store:/var/lib/speakerd\n" in COMPOSE


def test_the_unit_starts_a_file_that_the_readme_installs() -> None:
    (program, file) = re.findall(r"^ExecStart=(\S+) serve --config (\S+)$", UNIT, re.MULTILINE)[0]
    steps = text_of(DEPLOY / "README.md")
    assert f"-m venv {Path(program).parents[1]}\n" in steps
    assert f"deploy/speakerd.toml {file}\n" in steps
