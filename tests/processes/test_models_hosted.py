from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from speakerd_server.calls.models import VersionPolicy
from speakerd_server.cards import Bundle
from speakerd_server.errors import Draining, ModelIsDefault, ModelRefused, ModelUnusable
from speakerd_server.models.bundle import load_bundle
from speakerd_server.models.choice import ModelSettings
from speakerd_server.processes.child import Child
from speakerd_server.processes.link import LinkLost
from speakerd_server.processes.messages import Loaded, LoadOrder, UnloadOrder
from speakerd_server.processes.models_hosted import HostedModels
from support.bundles import damage, named, small_bundle
from support.signals import card
from support.sounds import window

DEVICES = {"engine cpu": "cpu", "engine gpu:0": "gpu:0", "engine gpu:0 (2)": "gpu:0"}
RATES = {"engine cpu": 10.0, "engine gpu:0": 1000.0, "engine gpu:0 (2)": 900.0}


async def nobody(question: Any) -> None:
    raise AssertionError(f"nobody was to ask {question}")


class Told(Child):
    """An engine that takes note of its orders and has no process; orders may be made to fail."""

    def __init__(self, name: str) -> None:
        super().__init__("engine", name, nobody, {})
        self.models: set[int] = set()
        self.orders: list[Any] = []
        self.failure: Exception | None = None

    async def ask(self, question: Any) -> Any:
        await asyncio.sleep(0)
        self.orders.append(question)
        if self.failure is not None:
            raise self.failure
        match question:
            case LoadOrder(_, number):
                self.models.add(number)
                return Loaded(RATES[self.name])
            case UnloadOrder(number):
                self.models.remove(number)
        return None


class Hosting:
    """Engines and the account of their models."""

    def __init__(self, settings: ModelSettings | None = None) -> None:
        self.engines = {name: Told(name) for name in DEVICES}
        self.models = HostedModels(settings or ModelSettings(), DEVICES)

    @property
    def children(self) -> Mapping[str, Child]:
        return self.engines

    def there(self) -> dict[str, set[int]]:
        return {name: engine.models for name, engine in self.engines.items()}


def bundle(name: str = "small", version: str = "1") -> Bundle:
    return Bundle(named(card(), name, version), Path("model.onnx"))


def on_disk(folder: Path, name: str = "small") -> Bundle:
    return load_bundle(small_bundle(folder, name))


async def test_a_model_is_loaded_by_every_engine_and_its_speed_is_known() -> None:
    hosting = Hosting()
    hosted = await hosting.models.load(bundle(), "", hosting.children)
    assert hosted.rates == RATES
    assert hosting.there() == {name: {hosted.number} for name in DEVICES}
    assert hosting.models.of(hosted.entry) is hosted
    now = hosting.models.now()
    assert [(one.number, one.rates) for one in now.models] == [(hosted.number, RATES)]
    assert now.default == "small"
    assert now.preferred == {"small": "small/1"}


@pytest.mark.parametrize(
    ("device", "placement", "expected"),
    [
        ("gpu:0", (), {"engine gpu:0", "engine gpu:0 (2)"}),
        ("cpu", ("small=gpu:0",), {"engine cpu"}),
        ("", ("small=cpu",), {"engine cpu"}),
        ("", ("small/1=gpu:0", "small=cpu"), {"engine gpu:0", "engine gpu:0 (2)"}),
        ("", ("other=cpu",), set(DEVICES)),
    ],
)
async def test_a_model_is_loaded_where_it_was_placed(
    device: str, placement: tuple[str, ...], expected: set[str]
) -> None:
    hosting = Hosting(ModelSettings(placement=placement))
    hosted = await hosting.models.load(bundle(), device, hosting.children)
    assert hosted.rates.keys() == expected
    assert {name for name, there in hosting.there().items() if there} == expected


async def test_a_device_that_is_not_there_is_refused_with_those_that_are() -> None:
    hosting = Hosting()
    with pytest.raises(ModelRefused, match=r"no device gpu:7; the daemon has cpu, gpu:0$"):
        await hosting.models.load(bundle(), "gpu:7", hosting.children)
    assert not hosting.models.every


@pytest.mark.parametrize(
    ("failure", "expected", "said"),
    [
        (ModelRefused("small/1", "no memory"), ModelRefused, "no memory"),
        (LinkLost(), ModelRefused, "an engine ended while it was loaded; try again"),
        (RuntimeError("KeyError: 1"), RuntimeError, "KeyError"),
    ],
)
async def test_a_model_that_one_engine_refuses_is_with_none(
    failure: Exception, expected: type[Exception], said: str
) -> None:
    hosting = Hosting()
    hosting.engines["engine gpu:0"].failure = failure
    with pytest.raises(expected, match=said):
        await hosting.models.load(bundle(), "", hosting.children)
    assert hosting.there() == {name: set() for name in DEVICES}
    assert not hosting.models.every
    assert hosting.models.now().models == ()


async def test_why_a_model_is_refused_is_said_though_another_engine_dies_over_it() -> None:
    hosting = Hosting()
    hosting.engines["engine gpu:0"].failure = ModelRefused("small/1", "no memory")
    dying = hosting.engines["engine cpu"]
    whole, lost = dying.ask, [UnloadOrder]

    async def ask(question: Any) -> Any:
        if type(question) in lost:
            raise LinkLost
        return await whole(question)

    dying.ask = ask  # type: ignore[method-assign]
    with pytest.raises(ModelRefused, match="no memory"):
        await hosting.models.load(bundle(), "", hosting.children)


async def test_every_load_has_a_number_of_its_own() -> None:
    hosting = Hosting()
    numbers = set()
    for version in ("1", "2", "3"):
        numbers.add((await hosting.models.load(bundle("a", version), "", hosting.children)).number)
    first = hosting.models.every[min(numbers)]
    hosting.models.named.let_go(first.entry)
    await hosting.models.give_back(first, hosting.children)
    again = await hosting.models.load(bundle("a", "1"), "", hosting.children)
    assert again.number not in numbers


async def test_a_model_that_left_is_kept_by_the_engines_until_it_is_given_back() -> None:
    hosting = Hosting()
    kept = await hosting.models.load(bundle("kept"), "", hosting.children)
    gone = await hosting.models.load(bundle("gone"), "", hosting.children)
    assert hosting.models.named.remove("gone") is gone.entry
    assert [one.number for one in hosting.models.now().models] == [kept.number]
    assert hosting.there() == {name: {kept.number, gone.number} for name in DEVICES}
    hosting.engines["engine cpu"].failure = LinkLost()
    await hosting.models.give_back(gone, hosting.children)
    assert hosting.engines["engine gpu:0"].models == {kept.number}
    assert hosting.models.named.leaving == []
    assert list(hosting.models.every) == [kept.number]
    with pytest.raises(ModelIsDefault):
        hosting.models.named.remove("kept")


async def test_an_engine_that_was_started_again_gets_all_its_models_and_no_other(
    tmp_path: Path,
) -> None:
    hosting = Hosting()
    for name, device in (("one", ""), ("two", "cpu"), ("three", "gpu:0"), ("four", "")):
        await hosting.models.load(on_disk(tmp_path, name), device, hosting.children)
    left = hosting.models.named.remove("four")
    again = Told("engine cpu")
    await hosting.models.load_again(again)
    numbers = {one.bundle.card.identity.name: n for n, one in hosting.models.every.items()}
    assert again.models == {numbers["one"], numbers["two"], numbers["four"]}
    assert left.leaving
    again.failure = ModelRefused("one/1", "no memory")
    with pytest.raises(ModelRefused):
        await hosting.models.load_again(again)


async def test_a_model_whose_file_has_changed_is_left_out_of_an_engine_started_again(
    tmp_path: Path,
) -> None:
    hosting = Hosting()
    changed, gone, whole = [on_disk(tmp_path, name) for name in ("changed", "gone", "whole")]
    for one in (changed, gone, whole):
        await hosting.models.load(one, "", hosting.children)
    damage(changed.onnx_path.parent)
    gone.onnx_path.unlink()
    again = Told("engine cpu")
    await hosting.models.load_again(again)
    assert again.models == {3}
    others = RATES.keys() - {"engine cpu"}
    assert [one.rates.keys() for one in hosting.models.now().models] == [others, others, set(RATES)]
    assert not hosting.models.can_serve(["engine cpu"])


async def test_an_engine_started_again_has_the_speed_that_it_measured_anew(
    tmp_path: Path,
) -> None:
    hosting = Hosting()
    hosted = await hosting.models.load(on_disk(tmp_path), "", hosting.children)
    hosted.rates["engine cpu"] = 1.0
    told = hosting.models.now().models[0].rates
    await hosting.models.load_again(Told("engine cpu"))
    assert hosted.rates == RATES
    assert told["engine cpu"] == 1.0


async def test_the_daemon_can_serve_while_an_engine_has_the_default_model() -> None:
    hosting = Hosting()
    assert not hosting.models.can_serve(list(DEVICES))
    await hosting.models.load(bundle("one"), "gpu:0", hosting.children)
    await hosting.models.load(bundle("two"), "cpu", hosting.children)
    can_serve: Callable[[list[str]], bool] = hosting.models.can_serve
    assert can_serve(["engine gpu:0 (2)"])
    assert not can_serve(["engine cpu"])
    assert not can_serve([])


async def test_the_models_of_the_settings_are_loaded_with_the_default_first() -> None:
    hosting = Hosting(ModelSettings(load=("campplus-int8",), placement=("campplus-int8=cpu",)))
    await hosting.models.load_at_start(hosting.children)
    default = hosting.models.named.default
    assert default.reference.startswith("campplus/")
    assert [len(one.rates) for one in hosting.models.every.values()] == [3, 1]


async def test_a_model_of_the_settings_that_is_not_there_stops_the_start_by_name() -> None:
    hosting = Hosting(ModelSettings(load=("no-such",)))
    with pytest.raises(ModelUnusable):
        await hosting.models.load_at_start(hosting.children)
    assert all(not engine.orders for engine in hosting.engines.values())


@pytest.mark.parametrize(("policy", "means"), [("first", "a/9"), ("newest", "a/10")])
async def test_what_a_bare_name_means_is_told_to_front_ends(policy: str, means: str) -> None:
    hosting = Hosting(ModelSettings(version_policy=VersionPolicy(policy).value))
    for version in ("9", "10"):
        await hosting.models.load(bundle("a", version), "", hosting.children)
    assert hosting.models.now().preferred == {"a": means}
    newest = hosting.models.named.find("a/10")
    assert newest is not None
    hosting.models.named.make_default(newest)
    assert hosting.models.now().preferred == {"a": "a/10"}


async def test_the_supervisor_embeds_nothing_itself() -> None:
    hosting = Hosting()
    engine = (await hosting.models.load(bundle(), "", hosting.children)).entry.engine
    with pytest.raises(Draining):
        engine.submit(window(20))
    with pytest.raises(Draining):
        await engine.submit_offline(window(20))
    assert engine.statistics() == ()
