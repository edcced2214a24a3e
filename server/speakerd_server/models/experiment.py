"""Reads the `config.yaml` of a WeSpeaker experiment: what decides the network and its features.

Keys of training alone are not looked at. Those that change a number of an embedding are either
understood or refused by name, so that a misspelt or unusual one is never taken for the default.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from speakerd_server.errors import ArchitectureUnknown, ExperimentRefused, ExtraMissing
from speakerd_server.models.ecapa import WIDTHS
from speakerd_server.models.pooling import check_pooling
from speakerd_server.models.resnet import BASIC, BOTTLENECK

CAMPPLUS = "CAMPPlus"
ARCHITECTURES = (*BASIC, *BOTTLENECK, *WIDTHS, CAMPPLUS)
"""The values of `model` that can be exported."""

_MOST_NUMBERS = 65_536
_LARGEST_SHOWN_BITS = 128
_CAMPPLUS_FIXED: Mapping[str, Any] = {
    "growth_rate": 32,
    "bn_size": 4,
    "init_channels": 128,
    "config_str": "batchnorm-relu",
}
_FBANK_FIXED: Mapping[str, Any] = {"frame_length": 25, "frame_shift": 10}


@dataclass(frozen=True, slots=True)
class Experiment:
    """What a WeSpeaker experiment says of its network and its features."""

    architecture: str
    """One of ARCHITECTURES."""
    mel_bins: int
    """Features of a frame."""
    dim: int
    """Length of an embedding."""
    pooling: str
    """One of POOLINGS."""
    two_layers: bool
    """Whether a ResNet's embedding is that of its second linear layer."""
    embedding_norm: bool
    """Whether an ECAPA-TDNN's embedding is batch-normalised."""
    mean_removed: bool
    """Whether the mean over time is taken off the features."""


def read_experiment(path: Path) -> Experiment:
    """Read a configuration.

    Raises:
        ExperimentRefused: It cannot be read, lacks a key, or has one that cannot be exported.
        ArchitectureUnknown: The network or its pooling cannot be exported.
        ExtraMissing: PyYAML is not installed.
    """
    config = _Table(path, "", _load(path))
    architecture = config.take("model", str)
    if architecture not in ARCHITECTURES:
        raise ArchitectureUnknown("architecture", architecture, ARCHITECTURES)
    model = config.table("model_args")
    campplus = architecture == CAMPPLUS
    experiment = Experiment(
        architecture=architecture,
        mel_bins=model.count("feat_dim", 80 if campplus else None),
        dim=model.count("embed_dim", 512 if campplus else None),
        pooling=model.take("pooling_func", str, "ASTP" if architecture in WIDTHS else "TSTP"),
        two_layers=_is_resnet(architecture) and model.take("two_emb_layer", bool, False),
        embedding_norm=architecture in WIDTHS and model.take("emb_bn", bool, False),
        mean_removed=_check_features(config, model.count("feat_dim", 80)),
    )
    if campplus:
        model.fixed(_CAMPPLUS_FIXED)
    model.finish()
    check_pooling(experiment.pooling)
    if architecture not in WIDTHS and experiment.mel_bins % 8:
        config.refuse(f"model_args.feat_dim is {experiment.mel_bins}, no multiple of 8")
    return experiment


def _is_resnet(architecture: str) -> bool:
    return architecture in BASIC or architecture in BOTTLENECK


def _check_features(config: _Table, mel_bins: int) -> bool:
    """Refuse features that are not the front end's; say whether their mean is removed."""
    if config.has("feature_args"):
        # The layout of WeSpeaker's first year: 25 ms frames every 10 ms, mean removed.
        found = config.table("feature_args").count("feat_dim", 80)
        if found != mel_bins:
            config.refuse(f"feature_args.feat_dim is {found}, model_args.feat_dim is {mel_bins}")
        return True
    data = config.table("dataset_args")
    data.fixed({"frontend": "fbank", "resample_rate": 16000, "sample_rate": 16000})
    fbank = data.table("fbank_args")
    fbank.fixed(_FBANK_FIXED)
    fbank.take("dither", (int, float), 1.0)
    found = fbank.count("num_mel_bins", 80)
    fbank.finish()
    if found != mel_bins:
        where = "dataset_args.fbank_args.num_mel_bins"
        config.refuse(f"{where} is {found}, model_args.feat_dim is {mel_bins}")
    normalised = data.take("cmvn", bool, True)
    norms = data.table("cmvn_args", {})
    mean_removed = norms.take("norm_mean", bool, True)
    norms.fixed({"norm_var": False})
    norms.finish()
    return bool(normalised and mean_removed)


def _load(path: Path) -> object:
    """Parse a file as plain data: nothing in it is executed."""
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise ExtraMissing("models", "PyYAML") from error
    try:
        return yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise ExperimentRefused(path, f"it cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        first = str(error).splitlines()[0]
        raise ExperimentRefused(path, f"it is no plain YAML ({first})") from error
    # A date that does not exist, a number of a million digits, lists in lists without end.
    except (ValueError, RecursionError, OverflowError) as error:
        raise ExperimentRefused(path, f"it is no plain YAML ({error})") from error


class _Table:
    """A mapping of the file; every refusal names the key."""

    def __init__(self, path: Path, where: str, values: object) -> None:
        self._path, self._where = path, where
        if not isinstance(values, Mapping):
            self.refuse(f"{where.rstrip('.') or 'the file'} is no mapping of keys to values")
        self._values = values
        self._known: set[str] = set()

    def refuse(self, problem: str) -> NoReturn:
        raise ExperimentRefused(self._path, problem)

    def has(self, key: str) -> bool:
        return key in self._values

    def take(self, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """Give a value of the right type; without a default the key must be there."""
        self._known.add(key)
        value = self._values.get(key, default)
        if value is None:
            self.refuse(f"it has no {self._where}{key}")
        kinds = kind if isinstance(kind, tuple) else (kind,)
        # In Python true is a whole number, in a configuration it is not.
        if type(value) not in kinds:
            wanted = " or ".join(one.__name__ for one in kinds)
            found = _shown(repr(value) if type(value) is str else value)
            self.refuse(f"{self._where}{key} is {found}, it must be of type {wanted}")
        return value

    def count(self, key: str, default: int | None = None) -> int:
        """Give a whole number that can be a size."""
        value: int = self.take(key, int, default)
        if not 1 <= value <= _MOST_NUMBERS:
            self.refuse(f"{self._where}{key} is {_shown(value)}, not between 1 and {_MOST_NUMBERS}")
        return value

    def table(self, key: str, default: Mapping[str, Any] | None = None) -> _Table:
        """Give a table below this one; without a default the key must be there."""
        self._known.add(key)
        value = self._values.get(key, default)
        if value is None:
            self.refuse(f"it has no {self._where}{key}")
        return _Table(self._path, f"{self._where}{key}.", value)

    def fixed(self, wanted: Mapping[str, Any]) -> None:
        """Check values that may be given but not be others."""
        for key, value in wanted.items():
            self._known.add(key)
            found = self._values.get(key, value)
            if isinstance(found, bool) is not isinstance(value, bool) or found != value:
                self.refuse(f"{self._where}{key} is {_shown(found)}; only {value} can be exported")

    def finish(self) -> None:
        """Check that every key was known."""
        unknown = sorted(_shown(key) for key in self._values if key not in self._known)
        if unknown:
            self.refuse(f"{self._where}{unknown[0]} is unknown")


def _shown(value: object) -> str:
    # A few lines of YAML can stand for more text than there is memory.
    if isinstance(value, Collection) and not isinstance(value, str):
        return f"a {type(value).__name__}"
    if isinstance(value, int) and value.bit_length() > _LARGEST_SHOWN_BITS:
        return "a number of very many digits"
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
