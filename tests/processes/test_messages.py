from __future__ import annotations

import dataclasses
import inspect
import pickle
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest
from speakerd_server import config, errors
from speakerd_server.calls.administration import ModelState, ModelStatus, ProcessState
from speakerd_server.cards import Bundle
from speakerd_server.engine.statistics import EngineStatistics
from speakerd_server.errors import ModelRefused, SpeakerdError
from speakerd_server.processes import messages
from speakerd_server.processes.fleet import engine_names
from speakerd_server.processes.messages import (
    AdminCall,
    Begin,
    DrainNow,
    EngineAway,
    HealthNow,
    Hosted,
    Listen,
    Loaded,
    LoadOrder,
    ModelsNow,
    Serve,
    SessionsNow,
    StatisticsNow,
    Stop,
    UnloadOrder,
    Unused,
    UsesNow,
    Whereabouts,
)
from support.named import all_kinds, made
from support.signals import card

WHERE = Whereabouts(
    Path("/tmp/speakerd-12345678"), ("engine gpu:0", "engine cpu", "engine cpu (2)")
)
HOSTED = Hosted(card(), 3, {"engine cpu": 80.5})
EVERY: list[Any] = [
    WHERE,
    Begin(config.load(), WHERE, "engine cpu", 1, device="cpu", address="[::1]:8001", counts=7),
    Stop(),
    LoadOrder(Bundle(card(), Path("model.onnx")), 3),
    Loaded(80.5),
    UnloadOrder(3),
    Listen(),
    StatisticsNow(),
    HOSTED,
    ModelsNow((HOSTED,), "fake", {"fake": "fake/1"}),
    UsesNow(),
    Serve(),
    HealthNow(serving=True),
    EngineAway("moved"),
    DrainNow(draining=True, stopping=True),
    SessionsNow(),
    Unused(3),
    AdminCall("load_model", {"reference": "fake", "device": "", "make_default": True}),
]


def test_every_message_is_tried_here() -> None:
    declared = {kind for _, kind in inspect.getmembers(messages, dataclasses.is_dataclass)}
    ours = {kind for kind in declared if kind.__module__ == messages.__name__}
    assert {type(one) for one in EVERY} == ours


@pytest.mark.parametrize("message", EVERY, ids=lambda one: type(one).__name__)
def test_a_message_arrives_as_it_was_sent(message: Any) -> None:
    assert pickle.loads(pickle.dumps(message)) == message


@pytest.mark.parametrize("message", EVERY, ids=lambda one: type(one).__name__)
def test_a_message_cannot_be_changed_on_its_way(message: Any) -> None:
    assert message.__dataclass_params__.frozen
    assert not hasattr(message, "__dict__")


def test_what_is_answered_arrives_as_it_was_sent() -> None:
    statistics = EngineStatistics(device="cpu", batch_sizes={1: 2, 8: 3}, dead="gone")
    state = ModelState(
        card=card(),
        status=ModelStatus.UNLOADING,
        is_default=False,
        answers_to_name=True,
        open_calls=3,
        devices=(statistics,),
    )
    for answer in (state, ProcessState("store", 1, 2.0, 3)):
        assert pickle.loads(pickle.dumps(answer)) == answer


@pytest.mark.parametrize("kind", all_kinds(), ids=lambda kind: kind.__name__)
def test_every_named_error_that_can_end_a_call_arrives_whole(kind: type[SpeakerdError]) -> None:
    error = made(kind)
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is kind
    assert str(arrived) == str(error)
    assert arrived.told == error.told
    assert vars(arrived) == vars(error)
    assert (arrived.reason, arrived.field) == (error.reason, error.field)


def test_an_error_arrives_whatever_its_own_signature_is() -> None:
    arrived = pickle.loads(pickle.dumps(ModelRefused("campplus/2", "it is damaged")))
    assert isinstance(arrived, errors.ModelRefused)
    assert "campplus/2" in str(arrived)


def test_every_process_has_a_place_of_its_own() -> None:
    devices = ["cpu", "gpu:0", "cpu", "gpu:1", "gpu:0"]
    where = Whereabouts(Path("folder"), tuple(engine_names(devices)))
    paths = [where.store, *(where.engine(name) for name in where.engines)]
    assert len(set(paths)) == len(devices) + 1
    assert {path.parent for path in paths} == {Path("folder")}
    with pytest.raises(ValueError, match="not in"):
        where.engine("engine gpu:7")


def test_a_place_is_short_enough_to_listen_at_however_many_engines_there_are() -> None:
    names = tuple(engine_names(["cpu"] * 300))
    with tempfile.TemporaryDirectory(prefix="speakerd-") as folder:
        path = Whereabouts(Path(folder), names).engine(names[-1])
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
