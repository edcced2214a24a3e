from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from speakerd_server.errors import AddressUnavailable
from speakerd_server.processes.supervisor import hold_port

ANY = "127.0.0.1:0"


def test_a_port_that_is_held_is_the_daemons_alone() -> None:
    held, address = hold_port(ANY, "server.address")
    with held:
        port = int(address.rpartition(":")[2])
        assert address == f"127.0.0.1:{port}"
        with pytest.raises(AddressUnavailable, match="another program listens there"):
            hold_port(address, "server.address")
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))


def test_the_processes_of_a_daemon_can_listen_where_it_holds_the_port() -> None:
    held, address = hold_port(ANY, "server.address")
    where = "127.0.0.1", int(address.rpartition(":")[2])
    with held, socket.socket() as one, socket.socket() as other:
        for listening in (one, other):
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listening.bind(where)
            listening.listen()
        for _ in range(20):
            socket.create_connection(where, timeout=5).close()
        one.setblocking(False)
        other.setblocking(False)
        taken = 0
        for listening in (one, other):
            while True:
                try:
                    listening.accept()[0].close()
                except BlockingIOError:
                    break
                taken += 1
        assert taken == 20, "the socket that only holds the port got a connection"


def test_a_port_where_another_program_listens_is_refused_even_if_it_would_share() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(AddressUnavailable):
            hold_port(f"127.0.0.1:{other.getsockname()[1]}", "server.address")


def test_a_port_is_free_at_once_after_a_daemon_that_was_killed() -> None:
    program = (
        "from speakerd_server.processes.supervisor import hold_port; import socket, time\n"
        f"held, address = hold_port({ANY!r}, 'server.address')\n"
        "print(address, flush=True)\ntime.sleep(60)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        process.kill()
        process.wait(10)
    held, again = hold_port(address, "server.address")
    held.close()
    assert again == address


@pytest.mark.parametrize("address", ["[::1]:0", "localhost:0"])
def test_a_port_can_be_held_at_every_kind_of_address(address: str) -> None:
    held, found = hold_port(address, "server.address")
    held.close()
    assert found.rpartition(":")[0] == address.rpartition(":")[0]


@pytest.mark.parametrize("address", ["192.0.2.1:0", "no-such-host.invalid:0", "nonsense", "a:b"])
def test_an_address_that_is_not_ours_is_refused_by_name(address: str) -> None:
    with pytest.raises(AddressUnavailable, match=r"server\.address"):
        hold_port(address, "server.address")
