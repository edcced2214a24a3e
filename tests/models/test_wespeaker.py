"""Every network of the reference, by its parameters' names and shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from speakerd_server.errors import CheckpointRefused
from speakerd_server.models.embedder import features_graph
from speakerd_server.models.wespeaker import wespeaker_network
from support.wespeaker import (
    KINDS,
    SMALL,
    Arrays,
    config_of,
    features_session,
    network_of,
    random_arrays,
    random_features,
    read_config,
    shapes_of,
    small_shapes,
)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", KINDS)
def test_every_network_takes_the_reference_s_names_and_shapes(tmp_path: Path, kind: str) -> None:
    network, _ = network_of(tmp_path, kind)
    session = features_session(network)
    feats = random_features(2, 31)
    both = session.run(None, {"feats": feats})[0]
    assert both.shape == (2, config_of(kind)["model_args"]["embed_dim"])
    assert np.isfinite(both).all()
    alone = session.run(None, {"feats": feats[1:]})[0]
    np.testing.assert_allclose(alone[0], both[1], rtol=1e-4, atol=1e-4 * np.abs(both).max())
    longer = session.run(None, {"feats": random_features(1, 60)})[0]
    assert np.isfinite(longer).all()
    assert np.abs(longer - alone).max() > 1e-3 * np.abs(alone).max()


FEWEST = {
    "CAMPPlus_TSTP": 3,
    "ECAPA_TDNN_GLOB_c512_ASTP": 2,
    "ECAPA_TDNN_c512_ASTP": 1,
    "ResNet34_ASTP": 1,
    "ResNet34_TAP": 1,
    "ResNet34_TSDP": 9,
    "ResNet34_TSTP": 9,
}


@pytest.mark.parametrize("kind", FEWEST)
def test_the_fewest_frames_are_finite_and_one_less_is_not(tmp_path: Path, kind: str) -> None:
    network, _ = network_of(tmp_path, kind)
    session = features_session(network)
    assert network.min_frames == FEWEST[kind]
    for frames in range(network.min_frames, 12):
        assert np.isfinite(session.run(None, {"feats": random_features(1, frames)})[0]).all()
    if network.min_frames > 1:
        fewer = random_features(1, network.min_frames - 1)
        assert not np.isfinite(session.run(None, {"feats": fewer})[0]).all()


@pytest.mark.parametrize(("pooling", "fewest"), [("TAP", 1), ("TSDP", 2), ("TSTP", 2)])
def test_ecapa_takes_the_plain_poolings_too(tmp_path: Path, pooling: str, fewest: int) -> None:
    kind = "ECAPA_TDNN_c512_ASTP"
    shapes = {name: shape for name, shape in shapes_of(kind).items() if "pool." not in name}
    if pooling != "TSTP":
        shapes |= {name: (1536,) for name in shapes if name.startswith("bn.") and shapes[name]}
        shapes["linear.weight"] = (192, 1536)
    config = config_of(kind)
    config["model_args"]["pooling_func"] = pooling
    network = wespeaker_network(read_config(tmp_path, config), random_arrays(shapes))
    session = features_session(network)
    assert network.min_frames == fewest
    assert np.isfinite(session.run(None, {"feats": random_features(1, fewest)})[0]).all()


def campplus_with_attention(tmp_path: Path, *, same: bool) -> Arrays:
    attention = {
        "linear1.weight": (128, 512, 1),
        "linear1.bias": (128,),
        "linear2.weight": (512, 128, 1),
        "linear2.bias": (512,),
    }
    arrays = random_arrays(shapes_of("CAMPPlus_TSTP"))
    once = random_arrays(attention)
    twice = once if same else random_arrays(attention, seed=1)
    arrays |= {f"pool.{name}": array for name, array in once.items()}
    return arrays | {f"xvector.stats.{name}": array for name, array in twice.items()}


def test_campplus_with_attention_has_its_pooling_under_two_names(tmp_path: Path) -> None:
    config = config_of("CAMPPlus_TSTP")
    config["model_args"]["pooling_func"] = "ASTP"
    experiment = read_config(tmp_path, config)
    network = wespeaker_network(experiment, campplus_with_attention(tmp_path, same=True))
    embeddings = features_session(network).run(None, {"feats": random_features(2, 30)})[0]
    assert embeddings.shape == (2, 512)
    assert np.isfinite(embeddings).all()
    with pytest.raises(CheckpointRefused, match=r"pool\.linear1\.weight and xvector\.stats\."):
        wespeaker_network(experiment, campplus_with_attention(tmp_path, same=False))


def test_a_mean_is_subtracted_from_every_embedding(tmp_path: Path) -> None:
    experiment, arrays = read_config(tmp_path, SMALL), random_arrays(small_shapes())
    mean = np.linspace(-1, 1, 16).astype(np.float32)
    plain, freed = (
        features_session(wespeaker_network(experiment, arrays, vector)).run(
            None, {"feats": random_features(2, 20, 8)}
        )[0]
        for vector in (None, mean)
    )
    np.testing.assert_allclose(freed, plain - mean, atol=1e-6)


def refusal(tmp_path: Path, arrays: Arrays) -> str:
    with pytest.raises(CheckpointRefused) as refused:
        features_graph(
            wespeaker_network(read_config(tmp_path, SMALL), arrays), {}, half_weights=False
        )
    return str(refused.value)


@pytest.mark.parametrize("name", ["conv1.weight", "layer2.0.shortcut.1.running_var", "seg_1.bias"])
def test_missing_misshapen_and_broken_parameters_are_refused_by_name(
    tmp_path: Path, name: str
) -> None:
    arrays = random_arrays(small_shapes())
    assert f"{name} is missing" in refusal(
        tmp_path, {key: array for key, array in arrays.items() if key != name}
    )
    wider = np.concatenate([arrays[name], arrays[name]])
    assert f"{name} has shape {wider.shape}" in refusal(tmp_path, arrays | {name: wider})
    broken = arrays[name].copy()
    broken.flat[0] = np.nan
    assert f"{name} has numbers" in refusal(tmp_path, arrays | {name: broken})


def test_an_extra_parameter_is_refused_and_those_of_the_loss_are_not(tmp_path: Path) -> None:
    arrays = random_arrays(small_shapes())
    extra = {"frontend.weight": np.zeros(3, np.float32)}
    assert "1 parameter(s) are unknown to the network, first frontend.weight" in refusal(
        tmp_path, arrays | extra
    )
    loss: Arrays = {
        "projection.weight": np.zeros((9, 16), np.float32),
        "projection.bias": np.zeros(9),
    }
    features_graph(
        wespeaker_network(read_config(tmp_path, SMALL), arrays | loss), {}, half_weights=False
    )
