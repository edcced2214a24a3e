from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from speakerd_server import metrics
from speakerd_server.errors import AddressUnavailable
from speakerd_server.metrics_page import Page, count_as_ended, serve_metrics, serve_metrics_of_all
from speakerd_server.wire.server import ServerSettings

ANY = ServerSettings(metrics_address="127.0.0.1:0")
COUNTING = """
import os, sys
from speakerd_server import metrics
metrics.ENROLMENTS.inc(int(sys.argv[1]))
metrics.LIVE_STREAMS.set(int(sys.argv[2]))
metrics.BATCH_WINDOWS.labels("some/1", "cpu").observe(8)
print(os.getpid(), flush=True)
sys.stdin.read()
"""


@contextmanager
def served(page: Page) -> Iterator[str]:
    server, address = page
    assert server is not None
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()


def read(address: str) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as page:
        text = page.read().decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


@contextmanager
def counting(folder: Path, enrolments: int, streams: int) -> Iterator[int]:
    """A process that counts; gives its id."""
    with subprocess.Popen(
        [sys.executable, "-c", COUNTING, str(enrolments), str(streams)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)},
        text=True,
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


def test_a_page_tells_what_this_process_counts() -> None:
    with served(serve_metrics(ANY)) as address:
        before = read(address)["speakerd_enrolments_total"]
        metrics.ENROLMENTS.inc()
        assert read(address)["speakerd_enrolments_total"] == before + 1
        assert "process_cpu_seconds_total" in read(address)


def test_a_page_of_all_adds_up_what_each_process_counts(tmp_path: Path) -> None:
    with (
        served(serve_metrics_of_all(ANY, tmp_path)) as address,
        counting(tmp_path, 2, 5),
        counting(tmp_path, 3, 7),
    ):
        found = read(address)
        assert found["speakerd_enrolments_total"] == 5
        assert found["speakerd_live_streams"] == 12
        assert found["speakerd_batch_windows_count"] == 2


def test_what_a_process_counted_stays_when_it_ends_and_what_it_held_goes(tmp_path: Path) -> None:
    with served(serve_metrics_of_all(ANY, tmp_path)) as address:
        with counting(tmp_path, 2, 5) as pid:
            pass
        count_as_ended(tmp_path, pid)
        with counting(tmp_path, 3, 7):
            found = read(address)
        assert found["speakerd_enrolments_total"] == 5
        assert found["speakerd_live_streams"] == 7


def test_processes_that_ended_leave_their_counts_and_no_files_of_their_own(tmp_path: Path) -> None:
    with served(serve_metrics_of_all(ANY, tmp_path)) as address:
        for enrolments in (2, 3, 4):
            with counting(tmp_path, enrolments, 5) as pid:
                pass
            count_as_ended(tmp_path, pid)
        count_as_ended(tmp_path, pid)
        found = read(address)
    assert found["speakerd_enrolments_total"] == 9
    assert found["speakerd_batch_windows_count"] == 3
    assert found["speakerd_batch_windows_sum"] == 24
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "counter_ended.db",
        "histogram_ended.db",
    ]


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x40\0\0\0"])
def test_damaged_counts_of_a_process_that_ended_stop_nothing(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "counter_7.db").write_bytes(content)
    count_as_ended(tmp_path, 7)


def test_restarts_are_counted_by_the_supervisor_itself(tmp_path: Path) -> None:
    with served(serve_metrics_of_all(ANY, tmp_path)) as address:
        before = read(address).get("speakerd_restarts_total", 0.0)
        metrics.RESTARTS.labels("worker").inc()
        assert read(address)["speakerd_restarts_total"] == before + 1


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_the_address_has_the_real_port(host: str) -> None:
    with served(serve_metrics(ServerSettings(metrics_address=f"{host}:0"))) as address:
        assert address.startswith(f"{host}:")
        assert not address.endswith(":0")


def test_without_an_address_there_is_no_page(tmp_path: Path) -> None:
    none = ServerSettings(metrics_address="")
    assert serve_metrics(none) == serve_metrics_of_all(none, tmp_path) == (None, "")


@pytest.mark.parametrize("address", ["8002", "192.0.2.1:8002", "127.0.0.1:99999"])
def test_an_address_that_cannot_be_is_refused_with_its_setting(address: str) -> None:
    with pytest.raises(AddressUnavailable, match=r"server\.metrics_address"):
        serve_metrics(ServerSettings(metrics_address=address))


def test_a_port_where_another_listens_is_refused() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(AddressUnavailable):
            serve_metrics(ServerSettings(metrics_address=taken))
