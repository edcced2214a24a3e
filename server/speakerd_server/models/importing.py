"""Turns somebody's ONNX network from features into a bundle, and refuses what does not fit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto

from speakerd_server.cards import Calibration, Card, FrontEndDescription
from speakerd_server.errors import GraphRefused, OptionInvalid, VectorsUnusable
from speakerd_server.models.bundle import load_bundle, write_bundle
from speakerd_server.models.front_end import SAMPLE_RATE_HZ, fingerprint, front_end
from speakerd_server.models.graph_reading import find_ports, read_graph
from speakerd_server.models.graph_surgery import (
    join,
    weights_precision,
    with_dynamic_sizes,
    with_features_shown,
)
from speakerd_server.models.mean import read_mean
from speakerd_server.models.naming import new_bundle_folder
from speakerd_server.models.network_trial import (
    FRAMES,
    Network,
    cosine,
    features,
    relative,
    sound,
    try_out,
)
from speakerd_server.values import Float32, ModelIdentity

UNKNOWN_LICENCE = "LicenseRef-unknown"
NOT_CALIBRATED = "not calibrated; run speakerd evaluate --calibrate on trials of your own"

_SAMPLES_PER_CHUNK = 32000
_LOWEST_COSINE = 0.999999
_HIGHEST_RELATIVE = 1e-4
_MOST_FEATURES_DIFFER = 1e-3
_TRIED_FRAMES = (57, FRAMES)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the bundle is to be."""

    front_end: FrontEndDescription
    """What the network was trained with."""
    output: Path
    """Folder of models; the bundle goes to NAME/VERSION in it."""
    name: str
    """Of the model."""
    version: str = "1"
    """Of the model."""
    licence: str = UNKNOWN_LICENCE
    """SPDX identifier."""
    origin: str = ""
    """Where the weights come from; the file's name and SHA-256 are added."""
    mean_vec: Float32 | None = None
    """float32[D], taken off every embedding inside the graph."""
    force: bool = False
    """Whether a bundle that is there already is replaced."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What was written, and how near its embeddings are to the file's own."""

    folder: Path
    """The bundle's."""
    card: Card
    """As written."""
    lowest_cosine: float
    """Between the bundle's embeddings and the network's."""
    highest_relative: float
    """Length of their difference over that of the network's."""


def import_network(path: Path, wanted: Wanted) -> Imported:
    """Write a bundle of an ONNX network from features float32[B, T, M] to float32[B, D].

    Nothing is written unless the bundle's features are those of the front end (mean difference at
    most 1e-3) and its embeddings those of the network on them: cosine >= 0.999999, difference
    at most 1e-4 of the length, at two lengths.

    Args:
        path: The ONNX file; its weights may be in files of the same folder.
        wanted: What the bundle is to be.

    Raises:
        GraphRefused: The network does not fit; the message says why.
        OptionInvalid: Name or version cannot be used, or the mean vector is of another size.
        OutputUnusable: The folder is there already or cannot be written.
    """
    folder = new_bundle_folder(wanted.output, wanted.name, wanted.version, force=wanted.force)
    read = read_graph(path)
    mel_bins = wanted.front_end.mel_bins
    ports = find_ports(path, read, mel_bins)
    Network(path, _serialised(path, read))
    free = with_dynamic_sizes(read, ports, mel_bins)
    network = Network(path, _serialised(path, free))
    dim, min_frames = try_out(path, network, wanted.front_end)
    if wanted.mean_vec is not None and wanted.mean_vec.size != dim:
        problem = f"it has {wanted.mean_vec.size} numbers, an embedding has {dim}"
        raise OptionInvalid("--mean-vec", problem)
    card = _card(path, wanted, read, (dim, min_frames))
    properties = {"licence": card.licence, "name": f"{wanted.name}/{wanted.version}"}
    tables = front_end(wanted.front_end)
    content = join(
        path, tables, free, ports, wanted.mean_vec, dim, properties | {"origin": card.origin}
    )
    lowest, highest = _compare(path, content, network, wanted)
    write_bundle(folder, card, content)
    return Imported(folder, load_bundle(folder).card, lowest, highest)


def read_mean_vec(path: Path) -> Float32:
    """Read a mean vector, `mean_vec.npy`: float32[D].

    Raises:
        VectorsUnusable: It is no array of one dimension of finite numbers.
    """
    # What is too large for float32 becomes infinite.
    with np.errstate(over="ignore"):
        vector: Float32 = read_mean(path).astype(np.float32)
    if not np.isfinite(vector).all():
        raise VectorsUnusable(path, "a number is too large for float32")
    return vector


def _compare(path: Path, content: bytes, network: Network, wanted: Wanted) -> tuple[float, float]:
    """Hold the joined graph against its parts: its features, and the network alone on them."""
    joined = Network(path, with_features_shown(content, wanted.front_end.mel_bins))
    cosines, differences = [], []
    for frames in _TRIED_FRAMES:
        pcm = sound(frames, 2)
        (found,), seen = joined.run(pcm[None], np.arange(frames)[None])
        off = float(np.abs(seen[0] - features(wanted.front_end, pcm)).mean())
        if not off <= _MOST_FEATURES_DIFFER:
            problem = f"behind the front end its features are off by {off:.1g} on average"
            raise GraphRefused(path, f"{problem}; nothing was written")
        (own,) = network.embed(seen)
        own = own if wanted.mean_vec is None else own - wanted.mean_vec
        cosines.append(cosine(found, own))
        differences.append(relative(found, own))
    lowest, highest = min(cosines), max(differences)
    if not (lowest >= _LOWEST_COSINE and highest <= _HIGHEST_RELATIVE):
        raise GraphRefused(
            path,
            f"behind the front end its embeddings differ by {highest:.1g} of their length (cosine"
            f" {lowest:.7f}), at most {_HIGHEST_RELATIVE:g} is allowed; nothing was written",
        )
    return lowest, highest


def _serialised(path: Path, model: ModelProto) -> bytes:
    try:
        return model.SerializeToString()
    except ValueError as error:
        raise GraphRefused(path, f"it is too large for one file ({error})") from error


def _card(path: Path, wanted: Wanted, read: ModelProto, sizes: tuple[int, int]) -> Card:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    source = f"{_text(path.name)}, SHA-256 {digest}"
    dim, min_frames = sizes
    return Card(
        identity=ModelIdentity(wanted.name, wanted.version, fingerprint(wanted.front_end)),
        sample_rate_hz=SAMPLE_RATE_HZ,
        dim=dim,
        samples_per_chunk=_SAMPLES_PER_CHUNK,
        min_frames=min_frames,
        precision=weights_precision(read),
        licence=_text(wanted.licence),
        origin=f"{_text(wanted.origin)}; {source}" if wanted.origin else source,
        sha256="",
        front_end=wanted.front_end,
        calibration=Calibration(None, None, NOT_CALIBRATED),
    )


def _text(given: str) -> str:
    """Replace what cannot be written as UTF-8: bytes of the command line that are no text."""
    return given.encode("utf-8", "replace").decode()
