from __future__ import annotations

import numpy as np
from speakerd_server.calls.networks import network_bundle
from speakerd_server.config import load
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.processes.opening import open_lanes


def test_a_network_alone_computes_on_processors_whatever_the_device() -> None:
    network = network_bundle(load_bundle(shipped_bundle()))
    for device in ("cpu", "gpu:0"):
        lanes = open_lanes(network, device, load(flags={"engine.workers": 2}))
        assert len(lanes.narrow) == 2
        assert all(isinstance(one, OnnxRuntimeCpu) for one in lanes.narrow)
        features = np.random.default_rng(0).standard_normal((1, 80 * 30)).astype(np.float32)
        found = lanes.narrow[0].embed(features, np.arange(30)[None])
        assert found.shape == (1, network.card.dim)
        lanes.close()
