"""Reads model bundles: folders with `model.onnx` and `card.toml`, checked before use."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from speakerd_server.cards import Bundle, Card
from speakerd_server.errors import ModelDamaged, ModelUnusable, OutputUnusable
from speakerd_server.models.card import CARD_NAME, card_text, read_card
from speakerd_server.models.cohort import read_cohort

ONNX_NAME = "model.onnx"

_SHIPPED = Path(__file__).parent / "shipped"


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle's card and its cohort, if it has one; check its files against the card.

    Raises:
        ModelUnusable: A file is missing or the card is not as it must be.
        ModelDamaged: The ONNX file, or that of the cohort, is not the one that the card describes.
    """
    card = read_card(folder)
    bundle = Bundle(card, folder / ONNX_NAME, read_cohort(folder, card))
    verify(bundle)
    return bundle


def verify(bundle: Bundle) -> None:
    """Check that a bundle's ONNX file is the one that its card describes.

    Raises ModelUnusable where it cannot be read, and ModelDamaged.
    """
    path = bundle.onnx_path
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        problem = f"{path.name} cannot be read ({error.strerror})"
        raise ModelUnusable(path.parent, problem) from error
    if digest != bundle.card.sha256:
        raise ModelDamaged(path, digest, bundle.card.sha256)


def write_bundle(folder: Path, card: Card, onnx: bytes, cohort: bytes | None = None) -> Path:
    """Write a bundle, each file whole or not at all, and give its folder.

    Args:
        folder: Made if it does not exist.
        card: Its sha256 is set to that of `onnx`; without `cohort` it names none.
        onnx: The ONNX file.
        cohort: The file that card.cohort describes. Another network than that which made it gives
            other embeddings, so that a bundle made from another one has none.

    Raises:
        OutputUnusable: The folder cannot be made or written.
    """
    stated = replace(card, sha256=hashlib.sha256(onnx).hexdigest())
    files = {ONNX_NAME: onnx}
    if cohort is None or stated.cohort is None:
        stated = replace(stated, cohort=None)
    else:
        files[stated.cohort.file] = cohort
    files[CARD_NAME] = card_text(stated).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_whole(folder / name, content)
    except OSError as error:
        raise OutputUnusable(folder, error.strerror or str(error)) from error
    return folder


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the file and then put it in its place; raises OSError and leaves nothing."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def shipped_bundle(name: str = "campplus") -> Path:
    """Give the folder of the newest shipped version of a model.

    Raises:
        ModelUnusable: No such model is in the package.
    """
    versions = sorted((_SHIPPED / name).glob(f"*/{CARD_NAME}"), key=lambda path: path.parts)
    if not versions:
        raise ModelUnusable(
            _SHIPPED / name, f"the package has no such model, only {', '.join(list_shipped())}"
        )
    return versions[-1].parent


def list_shipped() -> tuple[str, ...]:
    """Give the names of the models in the package, sorted."""
    return tuple(sorted({path.parts[-3] for path in _SHIPPED.glob(f"*/*/{CARD_NAME}")}))
