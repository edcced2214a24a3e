"""The client's wheel installs alone, imports fast, and brings nothing heavy along."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from support.shared import ROOT

HEAVY = ("numpy", "onnxruntime", "faiss", "typer", "rich", "soundfile", "torch", "soxr")
IMPORT_LIMIT_S = 0.3

pytestmark = pytest.mark.timeout(180)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=clean, check=False
    )


@pytest.fixture(scope="module")
def light_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build both wheels and install the client's base into an empty environment."""
    folder = tmp_path_factory.mktemp("light")
    wheels = folder / "wheels"
    ignore = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    for name in ("protos", "client"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    built = run(*build, "-w", wheels, folder / "protos", folder / "client")
    assert built.returncode == 0, built.stderr
    assert run(sys.executable, "-m", "venv", folder / "venv").returncode == 0
    python = folder / "venv" / "bin" / "python"
    install: list[str | Path] = [
        python,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "-q",
    ]
    install += ["-c", ROOT / "constraints.txt"]
    done = run(*install, *sorted(wheels.glob("*.whl")))
    assert done.returncode == 0, done.stderr
    return python


def test_nothing_heavy_is_installed(light_python: Path) -> None:
    probe = f"import importlib.util as u; print([n for n in {HEAVY} if u.find_spec(n)])"
    assert run(light_python, "-c", probe).stdout.strip() == "[]"


def test_the_import_is_fast(light_python: Path) -> None:
    probe = "import time; t = time.perf_counter(); import speakerd_client; "
    probe += "print(time.perf_counter() - t)"
    run(light_python, "-c", probe)
    times_s = [float(run(light_python, "-c", probe).stdout) for _ in range(7)]
    assert statistics.median(times_s) < IMPORT_LIMIT_S


def test_types_travel_with_the_wheel(light_python: Path) -> None:
    probe = "import speakerd_client, pathlib; "
    probe += "print((pathlib.Path(speakerd_client.__file__).parent / 'py.typed').exists())"
    assert run(light_python, "-c", probe).stdout.strip() == "True"


def test_the_command_line_says_what_to_install(light_python: Path) -> None:
    for command in ([light_python.parent / "speakerctl"], [light_python, "-m", "speakerd_client"]):
        told = run(*command, "status")
        assert told.returncode == 3
        assert 'pip install "speakerd-client[cli,files]"' in told.stderr
        assert "Traceback" not in told.stderr


def test_a_missing_daemon_is_told_by_the_light_client(light_python: Path) -> None:
    probe = "import speakerd_client as s\n"
    probe += "try: s.Client('127.0.0.1:1').health()\n"
    probe += "except s.NotReachable as error: print(error)"
    done = run(light_python, "-c", probe)
    assert "no daemon answers at 127.0.0.1:1" in done.stdout
    assert done.stderr == ""
