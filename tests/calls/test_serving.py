from __future__ import annotations

import pytest
from speakerd_server.calls.serving import CallSettings
from speakerd_server.config import load
from speakerd_server.errors import SettingInvalid


@pytest.mark.parametrize(
    "domains", ["default,a/b", "default,a b", "default,-x", "default," + "x" * 65]
)
def test_a_domain_that_is_no_name_is_refused(domains: str) -> None:
    with pytest.raises(SettingInvalid, match="domains"):
        load(flags={"calls.domains": domains})


def test_the_default_domain_always_exists() -> None:
    with pytest.raises(SettingInvalid, match="default"):
        load(environment={"SPEAKERD_CALLS_DOMAINS": "bank"})
    assert CallSettings(domains=("default", "bank")).domains == ("default", "bank")
