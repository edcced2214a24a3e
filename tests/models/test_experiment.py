from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.errors import ArchitectureUnknown, ExperimentRefused
from speakerd_server.models.experiment import read_experiment
from support.shared import shared_path
from support.wespeaker import SMALL, read_config


def changed(where: str, value: Any) -> dict[str, Any]:
    """Give SMALL with one key, named by its path, set; None takes it away."""
    config = copy.deepcopy(SMALL)
    table = config
    *path, last = where.split("/")
    for key in path:
        table = table.setdefault(key, {})
    if value is None:
        del table[last]
    else:
        table[last] = value
    return config


def test_the_reference_s_experiments_are_read() -> None:
    folder = shared_path("reference/wespeaker_checkpoints")
    resnet = read_experiment(folder / "resnet34" / "config.yaml")
    assert (resnet.architecture, resnet.dim, resnet.mel_bins) == ("ResNet34", 256, 80)
    assert (resnet.pooling, resnet.two_layers, resnet.mean_removed) == ("TSTP", False, True)
    ecapa = read_experiment(folder / "ecapa512" / "config.yaml")
    assert (ecapa.architecture, ecapa.pooling) == ("ECAPA_TDNN_GLOB_c512", "ASTP")
    assert not ecapa.embedding_norm


def test_defaults_are_those_of_wespeaker(tmp_path: Path) -> None:
    bare: dict[str, Any] = {"fbank_args": {}}
    model = {"feat_dim": 80, "embed_dim": 192}
    ecapa = {"dataset_args": bare, "model": "ECAPA_TDNN_c512", "model_args": model}
    assert read_config(tmp_path, ecapa).pooling == "ASTP"
    campplus: dict[str, Any] = {"dataset_args": bare, "model": "CAMPPlus", "model_args": {}}
    found = read_config(tmp_path, campplus)
    assert (found.mel_bins, found.dim, found.pooling) == (80, 512, "TSTP")


def test_the_first_year_s_layout_is_read(tmp_path: Path) -> None:
    config = changed("feature_args", {"raw_wav": True, "feat_dim": 8, "num_frms": 200})
    del config["dataset_args"]
    assert read_config(tmp_path, config).mel_bins == 8
    config["feature_args"]["feat_dim"] = 40
    with pytest.raises(ExperimentRefused, match=r"feature_args\.feat_dim is 40"):
        read_config(tmp_path, config)


@pytest.mark.parametrize(
    ("where", "value"), [("dataset_args/cmvn", False), ("dataset_args/cmvn_args/norm_mean", False)]
)
def test_features_may_keep_their_mean(tmp_path: Path, where: str, value: bool) -> None:
    assert not read_config(tmp_path, changed(where, value)).mean_removed


@pytest.mark.parametrize(
    "where",
    [
        "num_epochs",
        "projection_args/scale",
        "dataset_args/speed_perturb",
        "dataset_args/fbank_args/dither",
    ],
)
def test_keys_of_training_alone_are_not_looked_at(tmp_path: Path, where: str) -> None:
    assert read_config(tmp_path, changed(where, 0)) == read_config(tmp_path, SMALL)


@pytest.mark.parametrize(
    ("where", "value", "named"),
    [
        ("model", None, "no model"),
        ("model", 3, "model is 3, it must be of type str"),
        ("model_args", None, "no model_args"),
        ("model", [3], "model is a list, it must be of type str"),
        ("model_args", [1], "model_args is no mapping"),
        ("model_args/embed_dim", None, r"no model_args\.embed_dim"),
        ("model_args/feat_dim", None, r"no model_args\.feat_dim"),
        ("model_args/embed_dim", True, r"model_args\.embed_dim is True"),
        ("model_args/embed_dim", 0, r"model_args\.embed_dim is 0, not between"),
        ("model_args/embed_dim", 10**9, r"model_args\.embed_dim is 1000000000"),
        ("model_args/two_emb_layer", "no", r"model_args\.two_emb_layer is 'no', .* bool"),
        ("model_args/emb_bn", True, r"model_args\.emb_bn is unknown"),
        ("model_args/pooling_fun", "TAP", r"model_args\.pooling_fun is unknown"),
        ("dataset_args", None, "no dataset_args"),
        ("dataset_args/fbank_args", None, r"no dataset_args\.fbank_args"),
        ("dataset_args/frontend", "s3prl", r"dataset_args\.frontend is s3prl; only fbank"),
        ("dataset_args/resample_rate", 8000, r"dataset_args\.resample_rate is 8000; only 16000"),
        ("dataset_args/sample_rate", 8000, r"dataset_args\.sample_rate is 8000"),
        ("dataset_args/fbank_args/frame_length", 32, r"fbank_args\.frame_length is 32; only 25"),
        ("dataset_args/fbank_args/frame_shift", 12.5, r"fbank_args\.frame_shift is 12\.5"),
        ("dataset_args/fbank_args/num_mel_bins", 40, r"num_mel_bins is 40, .*feat_dim is 8"),
        ("dataset_args/fbank_args/low_freq", 40, r"dataset_args\.fbank_args\.low_freq is unknown"),
        ("dataset_args/cmvn", 1, r"dataset_args\.cmvn is 1"),
        ("dataset_args/cmvn_args/norm_var", True, r"dataset_args\.cmvn_args\.norm_var is True"),
        ("dataset_args/cmvn_args/window", 3, r"dataset_args\.cmvn_args\.window is unknown"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_its_key(
    tmp_path: Path, where: str, value: object, named: str
) -> None:
    with pytest.raises(ExperimentRefused, match=named):
        read_config(tmp_path, changed(where, value))


@pytest.mark.parametrize("key", ["growth_rate", "bn_size", "init_channels", "config_str"])
def test_another_shape_of_campplus_is_refused_by_its_key(tmp_path: Path, key: str) -> None:
    arguments = {"growth_rate": 32, "bn_size": 4, "init_channels": 128} | {key: 7}
    config = {"dataset_args": {"fbank_args": {}}, "model": "CAMPPlus", "model_args": arguments}
    with pytest.raises(ExperimentRefused, match=rf"model_args\.{key} is 7; only"):
        read_config(tmp_path, config)


def test_features_that_cannot_be_halved_three_times_are_refused(tmp_path: Path) -> None:
    config = changed("model_args/feat_dim", 20)
    config["dataset_args"]["fbank_args"]["num_mel_bins"] = 20
    with pytest.raises(ExperimentRefused, match=r"feat_dim is 20, no multiple of 8"):
        read_config(tmp_path, config)


@pytest.mark.parametrize("model", ["XVEC", "ResNet35", "resnet34", "REPVGG_TINY_A0", "ERes2Net34"])
def test_unknown_architectures_are_refused_by_name(tmp_path: Path, model: str) -> None:
    with pytest.raises(ArchitectureUnknown, match=rf"{model} cannot .* ResNet18, ResNet34"):
        read_config(tmp_path, changed("model", model))


@pytest.mark.parametrize("pooling", ["MHASTP", "MQMHASTP", "ASP"])
def test_unknown_poolings_are_refused_by_name(tmp_path: Path, pooling: str) -> None:
    with pytest.raises(ArchitectureUnknown, match=rf"pooling {pooling} cannot"):
        read_config(tmp_path, changed("model_args/pooling_func", pooling))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no mapping"),
        ("- 1", "no mapping"),
        ("model: [", "no plain YAML"),
        ("model: !!python/object/apply:os.system [exit 3]", "no plain YAML"),
        ("when: 2021-99-99", "no plain YAML"),
        ("a: " + "[" * 5000, "no plain YAML"),
        ("\x00", "no plain YAML"),
        ("model: CAMPPlus\nmodel_args: {embed_dim: 0x" + "f" * 5000 + "}", "very many digits"),
    ],
)
def test_a_file_that_is_no_plain_mapping_is_refused(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ExperimentRefused, match=named):
        read_experiment(path)


def test_a_file_that_unfolds_without_end_is_refused_at_once(tmp_path: Path) -> None:
    layers = "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]\n" for n in range(12))
    path = tmp_path / "config.yaml"
    path.write_text(f"a0: &a0 [x]\n{layers}model: *a12\n")
    with pytest.raises(ExperimentRefused, match="model is a list"):
        read_experiment(path)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(ExperimentRefused, match=rf"{path.name} .*cannot be read"):
            read_experiment(path)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    with pytest.raises((ExperimentRefused, ArchitectureUnknown)):
        read_experiment(path)
