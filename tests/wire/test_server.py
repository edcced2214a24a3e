from __future__ import annotations

import pytest
from speakerd_server.errors import AddressUnavailable
from speakerd_server.wire.server import host_and_port


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:8001", ("127.0.0.1", 8001)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:65535", ("[::1]", 65535)),
    ],
)
def test_an_address_is_a_host_and_a_port(address: str, expected: tuple[str, int]) -> None:
    assert host_and_port(address, "server.address") == expected


@pytest.mark.parametrize(
    "address", ["", "8001", ":8001", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "::1:80", "a:-1"]
)
def test_what_is_no_address_is_refused_with_the_setting(address: str) -> None:
    with pytest.raises(AddressUnavailable, match=r"server\.address"):
        host_and_port(address, "server.address")
