"""Networks alone, as models of their own: NAME.network, cut out of the bundle NAME when asked for.

They take features, not samples, so that only inference over tensors can use them.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import shutil
import tempfile
import threading
from dataclasses import replace
from functools import cache
from pathlib import Path

from speakerd_server.cards import Bundle, Card
from speakerd_server.errors import ExtraMissing, GraphRefused, ModelRefused
from speakerd_server.values import ModelIdentity

SUFFIX = ".network"
_FAMILY = "features"
_cutting = threading.Lock()


def takes_features(card: Card) -> bool:
    """Tell whether a model takes features in place of samples."""
    return card.front_end.family == _FAMILY


def network_reference(identity: ModelIdentity) -> str:
    """Give the NAME/VERSION of the network of a bundle."""
    return f"{identity.name}{SUFFIX}/{identity.version}"


def missing_for_networks() -> str:
    """Say what has to be installed before a network can be cut out; empty: nothing."""
    if importlib.util.find_spec("onnx") is not None:
        return ""
    return str(ExtraMissing("models", "onnx"))


def network_bundle(bundle: Bundle) -> Bundle:
    """Give a bundle's network as a bundle, in a folder that is there until the process ends.

    Raises ModelRefused.
    """
    with _cutting:
        return _network_bundle(bundle)


@cache
def _network_bundle(bundle: Bundle) -> Bundle:
    identity = bundle.card.identity
    reference = network_reference(identity)
    try:
        from speakerd_server.models.network import network_of
    except ModuleNotFoundError as error:
        missing = ExtraMissing("models", error.name or "onnx")
        raise ModelRefused(reference, str(missing)) from error
    try:
        content = network_of(bundle)
        path = _folder() / f"{bundle.card.sha256}.onnx"
        path.write_bytes(content)
    except GraphRefused as error:
        raise ModelRefused(reference, error.problem) from error
    except OSError as error:
        problem = f"no file can be written for it ({error.strerror})"
        raise ModelRefused(reference, problem) from error
    card = replace(
        bundle.card,
        identity=replace(identity, name=identity.name + SUFFIX),
        front_end=replace(bundle.card.front_end, family=_FAMILY),
        sha256=hashlib.sha256(content).hexdigest(),
        origin=f"the network of {identity.name}/{identity.version}: {bundle.card.origin}",
        cohort=None,
    )
    return Bundle(card, path)


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="speakerd-networks-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
