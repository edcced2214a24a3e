from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase
from speakerd_server import errors, metrics
from speakerd_server.config import Setting, all_settings
from support.daemon import Daemon
from support.papers import SERVER, table, text_of
from support.shared import ROOT

ALL = list(all_settings())
FILE = ROOT / "deploy" / "speakerd.toml"
PAPER = ROOT / "server" / "README.md"
METRICS = {
    name: metric for name, metric in vars(metrics).items() if isinstance(metric, MetricWrapperBase)
}


def as_toml(setting: Setting) -> str:
    """Write a default as the file has it."""
    value = setting.default
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{part}"' for part in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else f'"{value}"'


def range_of(setting: Setting) -> str:
    """Write the limits as the table has them."""
    if "choices" in setting.limits:
        return ", ".join(setting.limits["choices"])
    if "minimum" in setting.limits:
        return f"{setting.limits['minimum']:.10g} to {setting.limits['maximum']:.10g}"
    return "-"


def page_row(metric: MetricWrapperBase) -> list[str]:
    """Describe a metric by name, type, labels and meaning."""
    described = next(iter(metric.describe()))
    suffix = "_total" if described.type == "counter" else ""
    labels = ", ".join(metric._labelnames) or "-"
    return [described.name + suffix, described.type, labels, described.documentation]


def start(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `speakerd serve` with settings that are expected to stop it."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SPEAKERD_")}
    return subprocess.run(
        [sys.executable, "-m", "speakerd_server", "serve", *arguments],
        env=clean | variables,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=15,
    )


def test_the_annotated_file_has_every_setting_with_its_default() -> None:
    wanted: dict[str, dict[str, object]] = {}
    for setting in ALL:
        value = setting.default
        plain = list(value) if isinstance(value, tuple) else value
        plain = str(plain) if isinstance(plain, Path) else plain
        wanted.setdefault(setting.section, {})[setting.name] = plain
    found = tomllib.loads(text_of(FILE))
    assert found == wanted
    assert [list(section) for section in found.values()] == [
        list(section) for section in wanted.values()
    ]


@pytest.mark.parametrize("setting", ALL, ids=lambda setting: setting.dotted)
def test_the_annotated_file_explains_each_setting_by_its_own_help(setting: Setting) -> None:
    _, section = text_of(FILE).split(f"[{setting.section}]\n", 1)
    above = section.split(f"\n{setting.name} = ", 1)[0].rsplit("\n\n", 1)[-1]
    lines = above.strip().splitlines()
    assert lines
    assert all(line.startswith("# ") for line in lines)
    kind = "One of" if "choices" in setting.limits else "Range"
    stated = setting.limits.keys() & {"choices", "minimum"}
    limits = f" {kind}: {range_of(setting)}." if stated else ""
    assert " ".join(line[2:] for line in lines) == setting.help + limits


def test_the_settings_table_is_the_settings() -> None:
    wanted = [
        [
            setting.dotted,
            setting.variable,
            setting.flag,
            f"`{as_toml(setting)}`",
            range_of(setting),
            setting.help,
        ]
        for setting in ALL
    ]
    assert table(PAPER, "settings") == wanted


def test_the_metrics_table_is_the_metrics() -> None:
    assert table(PAPER, "metrics") == [page_row(metric) for metric in METRICS.values()]


def test_every_metric_says_its_unit_in_its_name() -> None:
    counted = "streams|windows|frames|samples|decisions|refusals|enrolments|erasures|hits|restarts"
    units = re.compile(
        rf"speakerd_([a-z]+_)*(seconds|{counted})(_embedded|_without_variance)?(_total)?"
    )
    for name, kind, _, _ in map(page_row, METRICS.values()):
        assert units.fullmatch(name), name
        assert name.endswith("_total") == (kind == "counter")


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_observed_somewhere(name: str) -> None:
    users = [
        path.name
        for path in SERVER.rglob("*.py")
        if path.name != "metrics.py" and f"metrics.{name}." in text_of(path)
    ]
    assert users


def test_every_reason_that_can_stop_the_start_is_explained() -> None:
    kinds: list[type[errors.SpeakerdError]] = [
        errors.StoreCorrupt,
        errors.ModelRefused,
        *errors.StartFailed.__subclasses__(),
    ]
    assert not [below for kind in kinds for below in kind.__subclasses__()]
    _, _, after = text_of(PAPER).partition("| reason at the start |")
    rows = re.findall(r"^\| ([A-Z_]+) \|", after.split("\n\n", 1)[0], re.MULTILINE)
    assert sorted(rows) == sorted(kind.reason for kind in kinds)


def test_every_reason_that_can_stop_work_over_files_is_explained() -> None:
    _, _, after = text_of(PAPER).partition("| reason | what to do |")
    cells = re.findall(r"^\| ([A-Z_, ]+) \|", after.split("\n\n", 1)[0], re.MULTILINE)
    told = [reason for cell in cells for reason in cell.split(", ")]
    assert sorted(told) == sorted(kind.reason for kind in errors.JobFailed.__subclasses__())


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (["--config", "wrong.toml"], {}, "calls.maximum_streams (from file wrong.toml): 0 is not"),
        ([], {"SPEAKERD_CONFIG": "wrong.toml"}, "calls.maximum_streams (from file wrong.toml)"),
        ([], {"SPEAKERD_SERVER_ADRESS": "x"}, "did you mean SPEAKERD_SERVER_ADDRESS?"),
        (["--logs-level", "loud"], {}, "logs.level (from command line): 'loud' is not one of"),
        (["--server-adress", "x"], {}, "--server-adress"),
    ],
)
def test_a_wrong_setting_stops_the_daemon_by_name(
    arguments: list[str], variables: Mapping[str, str], said: str, tmp_path: Path
) -> None:
    (tmp_path / "wrong.toml").write_text("[calls]\nmaximum_streams = 0\n")
    ended = start(*arguments, folder=tmp_path, **variables)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.toml"]


def test_the_daemon_starts_with_the_annotated_file_beside_kubernetes_variables(
    tmp_path: Path,
) -> None:
    kubernetes = {
        "SPEAKERD_PORT": "tcp://10.0.0.1:8001",
        "SPEAKERD_PORT_8001_TCP_ADDR": "10.0.0.1",
        "SPEAKERD_SERVICE_HOST": "10.0.0.1",
        "SPEAKERD_SERVICE_PORT_GRPC": "8001",
        "SPEAKERD_LOGS_LEVEL": "warning",
    }
    with Daemon(tmp_path, f"--config={FILE}", environment=kubernetes) as daemon:
        assert daemon.address.startswith("127.0.0.1:")
        assert '"event": "serving"' not in daemon.errors()


def test_every_setting_is_listed_by_the_daemon() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "speakerd_server", "settings"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for setting in ALL:
        for name in (setting.dotted, setting.variable, setting.flag, setting.help):
            assert name in listed
