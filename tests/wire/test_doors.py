from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = "import sys; import {}; print('aiohttp' in sys.modules)"


@pytest.mark.parametrize(
    ("module", "loaded"),
    [
        ("speakerd_server.cli.app", False),
        ("speakerd_server.wire.doors", False),
        ("speakerd_server.wire.kserve_http_server", True),
    ],
)
def test_the_library_of_http_is_loaded_only_where_http_is_served(module: str, loaded: bool) -> None:
    asked = [sys.executable, "-c", LOADED.format(module)]
    assert subprocess.check_output(asked, text=True).strip() == str(loaded)
