from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.papers import text_of
from support.shared import ROOT

START_S = 60
# One environment for the whole file: it takes a minute to fill.
pytestmark = pytest.mark.timeout(300)
STALE = (
    "protos/build/lib/speakerd/v1",
    "server/build/lib/speakerd_server",
    "client/build/lib/speakerd_client",
)
"""What an older build leaves behind, with a module in it that is gone from the sources."""
UNWANTED = {"torch", "onnx", "pytest", "mypy", "ruff", "hypothesis", "grpcio-tools", "tensorrt"}


def clean_environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SPEAKERD_")}
    kept.pop("PYTHONPATH", None)
    return kept


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An environment filled from a copy of the sources, as an image would be; gives its bin."""
    folder = tmp_path_factory.mktemp("install")
    source, home = folder / "source", folder / "venv"
    (source / "deploy").mkdir(parents=True)
    shutil.copy(ROOT / "constraints.txt", source)
    shutil.copy(ROOT / "deploy" / "install.sh", source / "deploy")
    for name in ("protos", "server", "client"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in STALE:
        (source / name).mkdir(parents=True)
        (source / name / "long_gone.py").touch()
    venv.create(home, with_pip=True)
    done = subprocess.run(
        ["sh", str(source / "deploy" / "install.sh"), str(home / "bin" / "python")],
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    # What is installed must not need what it was installed from.
    shutil.rmtree(source)
    yield home / "bin"
    shutil.rmtree(folder)


def frozen(installed: Path) -> dict[str, str]:
    listed = subprocess.run(
        [str(installed / "python"), "-m", "pip", "list", "--format=freeze"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rows = (line.split("==") for line in listed.splitlines())
    return {name.lower().replace("_", "-"): version for name, version in rows}


def site_packages(installed: Path) -> Path:
    (found,) = (installed.parent / "lib").glob("python*/site-packages")
    return found


def test_nothing_of_the_workshop_comes_along(installed: Path) -> None:
    packages = frozen(installed)
    assert {"speakerd-server", "speakerd-client", "speakerd-protos"} <= packages.keys()
    assert packages.keys() & UNWANTED == set()


def test_every_version_is_the_pinned_one(installed: Path) -> None:
    lines = re.findall(r"^([\w.-]+)==(\S+)$", text_of(ROOT / "constraints.txt"), re.MULTILINE)
    pins = {name.lower().replace("_", "-"): version for name, version in lines}
    others = {
        name: version
        for name, version in frozen(installed).items()
        if not name.startswith("speakerd-") and pins.get(name) != version
    }
    assert others == {}


def test_what_was_installed_serves_and_is_healthy(installed: Path, tmp_path: Path) -> None:
    daemon = subprocess.Popen(
        [
            str(installed / "speakerd"),
            "serve",
            "--server-address=127.0.0.1:0",
            "--server-metrics-address=",
            "--kserve-http-address=",
        ],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert daemon.stdout is not None
        line = daemon.stdout.readline()
        found = re.search(r"serves on (\S+)$", line.strip())
        assert found, daemon.communicate(timeout=START_S)[1]
        probe = [str(installed / "python"), str(ROOT / "deploy" / "healthcheck.py"), found[1]]
        asked = subprocess.run(probe, env=clean_environment(), capture_output=True, text=True)
        assert asked.returncode == 0, asked.stderr
        status = [str(installed / "speakerctl"), "status", f"--address={found[1]}"]
        told = subprocess.run(status, env=clean_environment(), capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        assert "campplus" in told.stdout
    finally:
        daemon.terminate()
        _, errors = daemon.communicate(timeout=START_S)
    assert daemon.returncode == 0, errors
    assert (tmp_path / "speakerd.db").is_file()


def test_the_shipped_model_and_its_papers_are_in_the_package(installed: Path) -> None:
    program = "import speakerd_server; print(speakerd_server.__file__)"
    found = subprocess.run(
        [str(installed / "python"), "-c", program],
        cwd=installed,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    package = Path(found.strip()).parent
    assert ROOT not in package.parents
    (bundle,) = (package / "models" / "shipped" / "campplus").iterdir()
    assert {"model.onnx", "card.toml", "LICENSE"} <= {path.name for path in bundle.iterdir()}


def test_a_module_of_an_older_build_does_not_come_back(installed: Path) -> None:
    packages = site_packages(installed)
    assert (packages / "speakerd_client" / "client.py").is_file()
    assert list(packages.glob("speakerd*/**/long_gone.py")) == []


@pytest.mark.parametrize("project", ["protos", "server", "client"])
def test_licence_and_notices_are_in_every_wheel(installed: Path, project: str) -> None:
    (papers,) = site_packages(installed).glob(f"speakerd_{project}-*.dist-info")
    names = ["LICENSE", "NOTICE"]
    if project == "server":
        names.append("speakerd_server/models/shipped/campplus/1/LICENSE")
    for name in names:
        assert text_of(papers / "licenses" / name) == text_of(ROOT / project / name)
    metadata = text_of(papers / "METADATA")
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert metadata.rstrip().endswith(text_of(ROOT / project / "README.md").rstrip())


def test_an_install_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "install.sh", tmp_path / "deploy")
    (tmp_path / "constraints.txt").write_text("pip==0.0.1\n")
    done = subprocess.run(
        ["sh", str(tmp_path / "deploy" / "install.sh"), sys.executable],
        env=clean_environment() | {"PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "ERROR: " in done.stderr
    assert "pip" in done.stderr


@pytest.mark.parametrize(
    ("flags", "other", "extras"),
    [
        ([], "onnxruntime-gpu", "./server[cpu]"),
        (["--gpu"], "onnxruntime", "./server[gpu,tensorrt]"),
        (["--editable", "--gpu"], "onnxruntime", "./server[gpu,tensorrt]"),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_one_onnx_runtime_takes_the_others_place(
    tmp_path: Path, flags: list[str], other: str, extras: str, there: bool
) -> None:
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "install.sh", tmp_path / "deploy")
    python = tmp_path / "python"
    found = f'case "$*" in *" show "*) exit {0 if there else 1};; esac'
    python.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n{found}\n')
    python.chmod(0o755)
    script = str(tmp_path / "deploy" / "install.sh")
    done = subprocess.run(["sh", script, *flags, str(python)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[1].endswith(f"show {other}")
    removed = [line for line in asked if "uninstall" in line]
    assert [line.endswith("uninstall -y onnxruntime onnxruntime-gpu") for line in removed] == (
        [True] if there else []
    )
    assert extras in asked[-1].split()
    assert asked[-1].count(" -e ") == (3 if "--editable" in flags else 0)


def test_the_script_says_how_to_use_it() -> None:
    done = subprocess.run(
        ["sh", str(ROOT / "deploy" / "install.sh")], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "usage: deploy/install.sh [--editable] [--gpu] PYTHON" in done.stderr
