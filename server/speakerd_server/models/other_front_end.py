"""Copies a bundle with the front end of the other family, for networks trained with that one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from speakerd_server.cards import FrontEndDescription
from speakerd_server.errors import ModelUnusable
from speakerd_server.models.bundle import ONNX_NAME, load_bundle, write_bundle
from speakerd_server.models.embedder import SPECTRUM
from speakerd_server.models.front_end import FAMILIES, fingerprint, front_end, upper_edge_hz


def with_front_end(bundle_folder: Path, family: str, output_folder: Path) -> Path:
    """Write a copy of a bundle whose graph has another front end and whose card says so.

    The calibration in the card is copied and no longer measured: run it anew before relying on it.

    Args:
        bundle_folder: Holds the bundle to copy.
        family: A key of `FAMILIES`.
        output_folder: Made if it does not exist; becomes the bundle's folder.

    Returns:
        `output_folder`.

    Raises:
        ModelUnusable: The bundle cannot be read, its graph is not one of ours, or its mel bank or
            mean removal is not the family's.
        ModelDamaged: The bundle's ONNX file is not the one that its card describes.
    """
    bundle = load_bundle(bundle_folder)
    description = FAMILIES[family]
    if _fixed(bundle.card.front_end) != _fixed(description):
        raise ModelUnusable(bundle_folder, f"its mel bank or mean removal is not that of {family}")
    model = onnx.load_model_from_string(bundle.onnx_path.read_bytes())
    spectra = [tensor for tensor in model.graph.initializer if tensor.name == SPECTRUM]
    if len(spectra) != 1:
        raise ModelUnusable(bundle_folder, f"{ONNX_NAME} has no array {SPECTRUM}")
    spectrum = np.ascontiguousarray(front_end(description).spectrum[:, None, None, :])
    spectra[0].CopyFrom(numpy_helper.from_array(spectrum, SPECTRUM))
    content = model.SerializeToString(deterministic=True)
    identity = replace(bundle.card.identity, front_end=fingerprint(description))
    card = replace(bundle.card, identity=identity, front_end=description)
    return write_bundle(output_folder, card, content)


def _fixed(description: FrontEndDescription) -> tuple[object, ...]:
    """Give what a copy cannot change."""
    edges_hz = (description.low_hz, upper_edge_hz(description))
    return (description.mel_bins, *edges_hz, description.mean_removed)
