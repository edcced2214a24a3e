from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from speakerd_server.calls.models import LoadedModel
from speakerd_server.calls.serving import CallSettings, Serving
from speakerd_server.config import load
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.errors import EngineBusy, SettingInvalid
from speakerd_server.processes.spread import Engines, RemoteEngine
from support.administered import administered
from support.bundles import named
from support.signals import card


@pytest.mark.parametrize(
    "domains", ["default,a/b", "default,a b", "default,-x", "default," + "x" * 65]
)
def test_a_domain_that_is_no_name_is_refused(domains: str) -> None:
    with pytest.raises(SettingInvalid, match="domains"):
        load(flags={"calls.domains": domains})


async def test_a_live_call_is_refused_only_while_the_engine_of_its_own_model_is_busy(
    tmp_path: Path,
) -> None:
    engines = Engines({"engine gpu:0": tmp_path / "nobody listens"}, EngineSettings())
    engines.host(1, {"engine gpu:0": 1000.0})
    lost = LoadedModel(named(card(), "lost", "1"), RemoteEngine(engines, 1), "1")
    async with administered(tmp_path) as built:
        serving = Serving(
            built.serving.models, built.serving.enrolments, CallSettings(maximum_wait_s=0.01)
        )
        serving.models.add(lost)
        await asyncio.sleep(0.05)
        with serving.live_model("") as model:
            assert model.reference == "small/1"
            with pytest.raises(EngineBusy), serving.live_model("lost"):
                raise AssertionError("it was taken")
            assert [one.users for one in serving.models] == [1, 0]
    await engines.close()


def test_the_default_domain_always_exists() -> None:
    with pytest.raises(SettingInvalid, match="default"):
        load(environment={"SPEAKERD_CALLS_DOMAINS": "bank"})
    assert CallSettings(domains=("default", "bank")).domains == ("default", "bank")
