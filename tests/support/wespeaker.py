"""WeSpeaker experiments of every kind, with random weights under the reference's names."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import yaml
from numpy.typing import NDArray
from speakerd_server.models.embedder import Network, features_graph
from speakerd_server.models.experiment import ARCHITECTURES, Experiment, read_experiment
from speakerd_server.models.wespeaker import wespeaker_network
from support.shared import shared_path

Arrays = dict[str, NDArray[Any]]
Config = dict[str, Any]

KINDS = (
    "CAMPPlus_TSTP",
    "ECAPA_TDNN_GLOB_c1024_ASTP",
    "ECAPA_TDNN_GLOB_c512_ASTP",
    "ECAPA_TDNN_GLOB_c512_ASTP_emb_bn",
    "ECAPA_TDNN_c1024_ASTP",
    "ECAPA_TDNN_c512_ASTP",
    "ResNet101_TSTP",
    "ResNet152_TSTP",
    "ResNet18_TSTP",
    "ResNet221_TSTP",
    "ResNet293_TSTP",
    "ResNet34_ASTP",
    "ResNet34_TAP",
    "ResNet34_TSDP",
    "ResNet34_TSTP",
    "ResNet34_TSTP_two_emb",
    "ResNet50_TSTP",
)
"""Files of reference/parameter_names whose networks can be exported."""
SMALL: Config = {
    "dataset_args": {"fbank_args": {"num_mel_bins": 8, "frame_length": 25, "frame_shift": 10}},
    "model": "ResNet18",
    "model_args": {"feat_dim": 8, "embed_dim": 16, "pooling_func": "TSTP", "two_emb_layer": False},
}
"""An experiment with the smallest network that can be exported."""


def config_of(kind: str) -> Config:
    """Give the configuration of one of KINDS."""
    (architecture,) = [name for name in ARCHITECTURES if kind.startswith(f"{name}_")]
    arguments = ast.literal_eval(_lines(kind)[0].partition(": ")[2])
    fbank = {"num_mel_bins": arguments["feat_dim"], "frame_length": 25, "frame_shift": 10}
    return {
        "dataset_args": {"fbank_args": fbank},
        "model": architecture,
        "model_args": arguments,
    }


def shapes_of(kind: str) -> dict[str, tuple[int, ...]]:
    """Give the shape of every parameter of one of KINDS by name."""
    rows = [line.split() for line in _lines(kind)[1:]]
    return {
        name: () if shape == "scalar" else tuple(map(int, shape.split("x"))) for name, shape in rows
    }


def small_shapes() -> dict[str, tuple[int, ...]]:
    """Give the shapes of the parameters of SMALL."""
    return shapes_of("ResNet18_TSTP") | {"seg_1.weight": (16, 512), "seg_1.bias": (16,)}


def random_arrays(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> Arrays:
    """Give weights that keep the size of what goes through them, some norms with negative scale."""
    generator = np.random.default_rng(seed)
    arrays: Arrays = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            arrays[name] = np.array(7, np.int64)
        elif name.endswith("running_var"):
            arrays[name] = generator.uniform(0.5, 1.5, shape).astype(np.float32)
        elif len(shape) > 1:
            scaled = generator.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
            arrays[name] = scaled.astype(np.float32)
        elif name.endswith("weight"):
            signs = np.where(generator.random(shape) < 0.2, -1, 1)
            arrays[name] = (signs * generator.uniform(0.5, 1, shape)).astype(np.float32)
        else:
            arrays[name] = (0.1 * generator.standard_normal(shape)).astype(np.float32)
    return arrays


def read_config(folder: Path, config: object) -> Experiment:
    """Write a configuration and read it as an experiment."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return read_experiment(path)


def network_of(folder: Path, kind: str) -> tuple[Network, Arrays]:
    """Make one of KINDS with random weights."""
    arrays = random_arrays(shapes_of(kind))
    return wespeaker_network(read_config(folder, config_of(kind)), arrays), arrays


def session_of(graph: bytes) -> ort.InferenceSession:
    """Load a graph on one core."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def features_session(network: Network) -> ort.InferenceSession:
    """Load a network's graph from `feats` to `embs`."""
    return session_of(features_graph(network, {}, half_weights=False))


def random_features(batch: int, frames: int, mel_bins: int = 80) -> NDArray[np.float32]:
    """Give features [B, T, mel_bins] without mean over time."""
    generator = np.random.default_rng(frames)
    features = generator.standard_normal((batch, frames, mel_bins)).astype(np.float32)
    return np.asarray(features - features.mean(axis=1, keepdims=True))


def _lines(kind: str) -> list[str]:
    return shared_path(f"reference/parameter_names/{kind}.txt").read_text().splitlines()
