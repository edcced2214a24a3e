"""Turns a WeSpeaker experiment into a bundle: `speakerd model export`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speakerd_server.cards import Calibration, Card, FrontEndDescription
from speakerd_server.errors import (
    CheckpointRefused,
    OptionInvalid,
    OutputUnusable,
    VectorsUnusable,
)
from speakerd_server.models import network_trial
from speakerd_server.models.bundle import load_bundle, write_bundle, write_whole
from speakerd_server.models.checkpoint import read_checkpoint
from speakerd_server.models.embedder import Network, features_graph, pcm_graph
from speakerd_server.models.experiment import CAMPPLUS, Experiment, read_experiment
from speakerd_server.models.front_end import FAMILIES, SAMPLE_RATE_HZ, fingerprint, front_end
from speakerd_server.models.importing import read_mean_vec
from speakerd_server.models.live_front_end import check_wespeaker_front_end
from speakerd_server.models.naming import new_bundle_folder
from speakerd_server.models.network_trial import cosine, sound
from speakerd_server.models.wespeaker import wespeaker_network
from speakerd_server.values import Float32, ModelIdentity

FEATURES_NAME = "features.onnx"
"""The plain `feats -> embs` file, beside the bundle's own."""
SAMPLES_PER_CHUNK = 32_000
LEAST_COSINE = 0.99999
"""Between embeddings of matrices stored as float16 and as float32, or the export is refused."""

_TRIED_FRAMES = 100


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to export and how."""

    config: Path
    """The experiment's config.yaml."""
    checkpoint: Path
    """Its weights, such as avg_model.pt."""
    output: Path
    """Folder of bundles; the bundle becomes output/name/version."""
    mean_vec: Path | None = None
    """NumPy file, float32[dim], to subtract from every embedding."""
    name: str = ""
    """Of the bundle; without one, the architecture's."""
    version: str = "1"
    """Of the bundle."""
    licence: str = "LicenseRef-unknown"
    """SPDX identifier."""
    half_weights: bool = False
    """Store the matrices as float16."""
    features: bool = False
    """Also write the plain features -> embeddings file."""
    replace: bool = False
    """Write over a bundle that is there already."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    folder: Path
    """The bundle's."""
    card: Card
    """As written."""
    experiment: Experiment
    """As read."""
    features: Path | None
    """The features -> embeddings file, if it was wanted."""
    front_end_difference: float | None
    """From torchaudio's features; None: torchaudio was not there."""


def export(wanted: Wanted) -> Exported:
    """Write the bundle of a WeSpeaker experiment; nothing is written before all of it is checked.

    Raises:
        ExperimentRefused: The configuration lacks a key or has one that cannot be exported.
        ArchitectureUnknown: The network or its pooling cannot be exported.
        CheckpointRefused: The weights are not those of the network, or more than weights.
        VectorsUnusable: The mean vector is not one.
        OptionInvalid: A name or version cannot be a folder's, or float16 costs too much.
        FrontEndDiffers: The features are not torchaudio's.
        OutputUnusable: The folder cannot be written, or holds a bundle already.
        ExtraMissing: PyYAML is not installed.
    """
    experiment = read_experiment(wanted.config)
    name = wanted.name or _name(experiment)
    folder = new_bundle_folder(wanted.output, name, wanted.version, force=wanted.replace)
    description = describe_front_end(experiment)
    difference = check_wespeaker_front_end(description)
    content = _read(wanted.checkpoint)
    mean = _mean(wanted.mean_vec, experiment.dim) if wanted.mean_vec else None
    network = wespeaker_network(experiment, read_checkpoint(content), mean)
    identity = ModelIdentity(name, wanted.version, fingerprint(description))
    card = _card(wanted, experiment, network, identity, content)
    metadata = {"licence": card.licence, "name": f"{name}/{wanted.version}", "origin": card.origin}
    graph = _checked_graph(wanted, network, description, metadata)
    features = folder / FEATURES_NAME if wanted.features else None
    _write_features(
        folder / FEATURES_NAME,
        features_graph(network, metadata, half_weights=wanted.half_weights) if features else None,
    )
    write_bundle(folder, card, graph)
    return Exported(folder, load_bundle(folder).card, experiment, features, difference)


def describe_front_end(experiment: Experiment) -> FrontEndDescription:
    """Give WeSpeaker's front end, by its family's name where it is the usual one."""
    usual = FAMILIES["wespeaker"]
    described = FrontEndDescription(
        family="described",
        sample_scale=usual.sample_scale,
        window=usual.window,
        mel_bins=experiment.mel_bins,
        mean_removed=experiment.mean_removed,
    )
    same = (described.mel_bins, described.mean_removed) == (usual.mel_bins, usual.mean_removed)
    return usual if same else described


def _name(experiment: Experiment) -> str:
    # Not plain "campplus": that is the shipped one, of another front end.
    name = experiment.architecture.lower().replace("_", "-")
    return "campplus-wespeaker" if experiment.architecture == CAMPPLUS else name


def _mean(path: Path, dim: int) -> Float32:
    mean = read_mean_vec(path)
    if mean.shape != (dim,):
        raise VectorsUnusable(path, f"it has {mean.size} numbers, an embedding has {dim}")
    return mean


def _card(
    wanted: Wanted,
    experiment: Experiment,
    network: Network,
    identity: ModelIdentity,
    checkpoint: bytes,
) -> Card:
    digest = hashlib.sha256(checkpoint).hexdigest()
    origin = (
        f"WeSpeaker experiment, {experiment.architecture} with {experiment.pooling};"
        f" checkpoint {wanted.checkpoint.name}, SHA-256 {digest}"
    )
    if wanted.mean_vec:
        origin += f"; {wanted.mean_vec.name} subtracted"
    return Card(
        identity=identity,
        sample_rate_hz=SAMPLE_RATE_HZ,
        dim=network.dim,
        samples_per_chunk=SAMPLES_PER_CHUNK,
        min_frames=network.min_frames,
        precision="float16" if wanted.half_weights else "float32",
        licence=wanted.licence,
        origin=origin,
        sha256="",
        front_end=describe_front_end(experiment),
        calibration=Calibration(
            None, None, "not calibrated; run speakerd evaluate --calibrate on trials of your own"
        ),
    )


def _checked_graph(
    wanted: Wanted, network: Network, description: FrontEndDescription, metadata: Mapping[str, str]
) -> bytes:
    """Build the PCM graph and run it once: what comes out must be finite."""

    def build(*, half_weights: bool) -> bytes:
        # What is too large for the type becomes infinite, and that shows in the embedding.
        with np.errstate(over="ignore"):
            return pcm_graph(network, front_end(description), metadata, half_weights=half_weights)

    graph = build(half_weights=False)
    embedding = _try_out(wanted.checkpoint, graph, network)
    if not np.isfinite(embedding).all():
        raise CheckpointRefused("with these weights the network's embeddings are not finite")
    if not wanted.half_weights:
        return graph
    half = build(half_weights=True)
    found = cosine(_try_out(wanted.checkpoint, half, network), embedding)
    if not found >= LEAST_COSINE:
        problem = f"the embeddings' cosine to those of float32 is {found:.7f}, below"
        raise OptionInvalid("--float16", f"{problem} {LEAST_COSINE}; export without it")
    return half


def _try_out(path: Path, graph: bytes, network: Network) -> Float32:
    frames = max(network.min_frames, _TRIED_FRAMES)
    rows = np.arange(frames)[None]
    embeddings = network_trial.Network(path, graph).embed(sound(frames, 0)[None], rows)
    return np.asarray(embeddings[0])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointRefused(f"{path} cannot be read ({error.strerror})") from error


def _write_features(path: Path, content: bytes | None) -> None:
    """Write the file whole, or take away that of the bundle that is replaced."""
    try:
        if content is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise OutputUnusable(path.parent, error.strerror or str(error)) from error
