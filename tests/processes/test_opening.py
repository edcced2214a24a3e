from __future__ import annotations

import asyncio
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from speakerd_server import config
from speakerd_server.calls.networks import network_bundle
from speakerd_server.config import Settings
from speakerd_server.engine.batch import embed_windows
from speakerd_server.engine.cpu import processors
from speakerd_server.engine.lanes import Lanes
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.errors import DeviceUnavailable, EngineDead, ModelUnusable, RemoteEngineRefused
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.processes.opening import batcher_of, limits_of, open_lanes
from support.batching import MODEL, WARM_SAMPLES, Dying, window
from support.sounds import DIM


def settings(**given: Any) -> Settings:
    return config.load(flags={name.replace("__", "."): value for name, value in given.items()})


def test_a_processor_engine_has_a_worker_for_each_processor() -> None:
    limits = limits_of("cpu", settings())
    assert limits.workers == processors()
    assert limits.batch_windows > 1
    assert limits.batch_frames >= limits.batch_windows * 198


@pytest.mark.parametrize("engines", [1, 2, 3, 64])
def test_several_processor_engines_divide_the_processors(engines: int) -> None:
    several = settings(engine__devices=",".join(["cpu"] * engines))
    assert limits_of("cpu", several).workers == math.ceil(processors() / engines)


def test_engines_on_gpus_take_no_processors_from_those_on_processors() -> None:
    mixed = settings(engine__devices="gpu:0,cpu,gpu:1")
    assert limits_of("cpu", mixed).workers == processors()


@pytest.mark.parametrize("device", ["cpu", "gpu:0", "gpu:12"])
def test_what_the_settings_say_goes_for_every_device(device: str) -> None:
    given = settings(engine__workers=5, engine__maximum_batch_frames=777)
    limits = limits_of(device, given)
    assert (limits.workers, limits.batch_frames) == (5, 777)


def test_a_gpu_has_as_many_batches_as_lanes_and_full_ones_fit() -> None:
    given = settings(gpu__lanes=3, gpu__batch_windows=32)
    limits = limits_of("gpu:1", given)
    assert (limits.workers, limits.batch_windows) == (3, 32)
    assert limits.batch_frames >= 32 * 298


def test_a_server_elsewhere_has_as_many_batches_as_lanes_and_full_ones_fit() -> None:
    device = "kserve:127.0.0.1:8001"
    given = settings(remote__lanes=6, remote__batch_windows=16, engine__devices=device)
    limits = limits_of(device, given)
    assert (limits.workers, limits.batch_windows) == (6, 16)
    assert limits.batch_frames >= 16 * 298
    forced = settings(engine__workers=2, engine__maximum_batch_frames=777)
    limits = limits_of(device, forced)
    assert (limits.workers, limits.batch_frames) == (2, 777)


def test_a_server_elsewhere_that_is_not_there_is_refused_when_a_model_is_opened() -> None:
    device = "kserve:127.0.0.1:1"
    bundle = load_bundle(shipped_bundle())
    with pytest.raises(RemoteEngineRefused, match=r"127\.0\.0\.1:1 cannot be used: UNAVAILABLE"):
        open_lanes(bundle, device, settings(engine__devices=device))


@pytest.mark.parametrize("device", ["", "gpu", "cuda:0", "gpu:-1", "tpu:0", "cpu:0"])
def test_what_is_no_device_is_refused_by_name(device: str) -> None:
    with pytest.raises(DeviceUnavailable):
        limits_of(device, settings())
    with pytest.raises(DeviceUnavailable):
        batcher_of(device, settings())


async def test_a_batcher_knows_its_device_and_who_is_to_be_told_of_its_death() -> None:
    deaths: list[EngineDead] = []
    batcher = batcher_of("gpu:3", settings(engine__workers=1), deaths.append)
    await batcher.add(MODEL, Lanes(DIM, [Dying(DIM)]), WARM_SAMPLES)
    assert batcher.workers == 1
    assert batcher.statistics(MODEL).device == "gpu:3"
    dying = batcher.submit(MODEL, window(0, level=1000))
    with pytest.raises(EngineDead):
        await asyncio.wait_for(dying, 5)
    assert [error.cause for error in deaths] == ["SystemExit: out of luck"]
    await batcher.stop()


def test_a_model_is_opened_with_a_backend_for_each_worker_and_embeds() -> None:
    bundle = load_bundle(shipped_bundle())
    lanes = open_lanes(bundle, "cpu", settings(engine__workers=2))
    assert len(lanes.narrow) == 2
    assert lanes.dim == bundle.card.dim
    embeddings = [embed_windows(one, [window(0, 198)], lanes.dim)[0] for one in lanes.narrow]
    np.testing.assert_array_equal(np.asarray(embeddings[0]), np.asarray(embeddings[1]))
    lanes.close()


def test_what_cannot_be_opened_is_refused_by_name() -> None:
    bundle = load_bundle(shipped_bundle())
    with pytest.raises(DeviceUnavailable, match="gpu:99"):
        open_lanes(bundle, "gpu:99", settings())
    absent = dataclasses.replace(bundle, onnx_path=bundle.onnx_path.with_name("absent.onnx"))
    with pytest.raises(ModelUnusable, match="absent"):
        open_lanes(absent, "cpu", settings())


def test_a_network_alone_computes_on_processors_whatever_the_device() -> None:
    network = network_bundle(load_bundle(shipped_bundle()))
    for device in ("cpu", "gpu:0", "kserve:127.0.0.1:1"):
        lanes = open_lanes(network, device, settings(engine__workers=2))
        assert len(lanes.narrow) == 2
        assert all(isinstance(one, OnnxRuntimeCpu) for one in lanes.narrow)
        features = np.random.default_rng(0).standard_normal((1, 80 * 30)).astype(np.float32)
        found = lanes.narrow[0].embed(features, np.arange(30)[None])
        assert found.shape == (1, network.card.dim)
        lanes.close()
