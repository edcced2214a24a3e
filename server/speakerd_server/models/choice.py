"""Which bundle a name means: a shipped model's, or a folder's."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from speakerd_server.errors import ModelUnknown, ModelUnusable
from speakerd_server.models.bundle import list_shipped, shipped_bundle
from speakerd_server.models.card import CARD_NAME


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which models are loaded."""

    default: str = "campplus"
    """Name of a shipped model (NAME or NAME/VERSION), or the folder of a bundle: the model of calls
    that name none."""
    load: tuple[str, ...] = field(default=(), metadata={"may_be_empty": True})
    """More models to load at the start, each written as `default` is."""
    profiles: tuple[str, ...] = field(default=(), metadata={"may_be_empty": True})
    """Files that `speakerd evaluate --profile-output` wrote for models that are loaded at the
    start: calibrations in place of those of their cards."""
    folder: str = ""
    """Folder of bundles NAME/VERSION in which LoadModel looks before it looks among the shipped
    ones; empty: only among those."""
    placement: tuple[str, ...] = field(
        default=(),
        metadata={
            "may_be_empty": True,
            "each": r"[^=]+=(cpu|gpu:[0-9]{1,3}|kserve:[^=\s]+)",
            "written": "write NAME=cpu, NAME=gpu:N, NAME=kserve:HOST:PORT or NAME/VERSION=...",
        },
    )
    """On which of `engine.devices` a model computes, as NAME=DEVICE or NAME/VERSION=DEVICE; on all
    of them where nothing is said."""
    version_policy: str = field(default="first", metadata={"choices": ("first", "newest")})
    """Which version a name without one means: of those loaded the first, until LoadModel makes
    another the default, or the newest. Voiceprints belong to one version."""


def find_bundle(name: str) -> Path:
    """Give the folder of a bundle.

    Args:
        name: A shipped model, NAME or NAME/VERSION; or a folder: a bundle's, or that of a model
            whose versions are folders in it, of which the newest is taken. A shipped model comes
            before a folder of that name; write ./NAME for the folder.

    Raises:
        ModelUnusable: Nothing of that name is there; the message tells what is.
    """
    folder = Path(name)
    try:
        found = _shipped(name)
        if not found and name and folder.is_dir():
            found = _bundle_in(folder)
    except OSError as error:
        raise ModelUnusable(folder, f"it cannot be read ({error.strerror})") from error
    if found:
        return found
    if name and not _is_path(name):
        raise ModelUnusable(folder, f"it is neither a folder nor a shipped model; {_known(name)}")
    problem = "there is no such folder" if name else "its name is empty"
    raise ModelUnusable(folder, f"{problem}; {_known(name)}")


def find_listed(name: str, folder: Path | None) -> Path:
    """Give the folder of a bundle that is known by name alone, whoever gives the name.

    Args:
        name: NAME, of which the newest version is taken, or NAME/VERSION.
        folder: Of models; they come before the shipped ones.

    Raises:
        ModelUnknown: Nothing of that name is there; the message tells what is.
        ModelUnusable: The folder cannot be read.
    """
    named, _, version = name.partition("/")
    listed = (*(find_bundles(folder) if folder else ()), *shipped_bundles())
    of_name = [path for path in listed if path.parent.name == named]
    found = [path for path in of_name if version in ("", path.name)]
    if not found:
        every = dict.fromkeys(f"{path.parent.name}/{path.name}" for path in listed)
        raise ModelUnknown(name, tuple(every), "can be loaded")
    first = [path for path in found if path.parent == found[0].parent]
    return newest(first)


def find_bundles(folder: Path) -> tuple[Path, ...]:
    """Give the folders of all bundles NAME/VERSION of a folder of models.

    They come by name and then by natural order of version.

    Raises:
        ModelUnusable: It is no folder that can be read.
    """
    try:
        models = sorted(path for path in folder.iterdir() if path.is_dir())
        return tuple(version for model in models for version in _versions(model))
    except OSError as error:
        raise ModelUnusable(folder, f"it cannot be read ({error.strerror})") from error


def shipped_bundles() -> tuple[Path, ...]:
    """Give the folders of all bundles in the package, by name and natural order of version."""
    models = (shipped_bundle(name).parent for name in list_shipped())
    return tuple(version for model in models for version in _versions(model))


def newest(versions: Sequence[Path]) -> Path:
    """Give the last in natural order, in which "10" comes after "9"."""
    return max(versions, key=_natural)


def natural_order(version: str) -> list[tuple[int, int, str]]:
    """Give what versions are sorted by, so that "10" comes after "9"; "0" comes before "00"."""
    parts = re.findall(r"\d+|\D+", version)
    order = [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]
    return [*order, (-1, 0, version)]


def _shipped(name: str) -> Path | None:
    model, _, version = name.partition("/")
    if model not in list_shipped():
        return None
    if not version:
        return newest(_versions(shipped_bundle(model).parent))
    folder = shipped_bundle(model).parent / version
    if folder.parent.name == model and (folder / CARD_NAME).is_file():
        return folder
    return None


def _bundle_in(folder: Path) -> Path:
    if (folder / CARD_NAME).is_file():
        return folder
    versions = _versions(folder)
    if versions:
        return newest(versions)
    models = find_bundles(folder)
    if models:
        shown = ", ".join(str(path) for path in models[:5])
        raise ModelUnusable(folder, f"it holds several bundles, choose one: {shown}")
    raise ModelUnusable(folder, f"neither it nor a folder of version in it has a {CARD_NAME}")


def _versions(folder: Path) -> list[Path]:
    """Give the bundles in a model's folder, in natural order of version."""
    return sorted((path.parent for path in folder.glob(f"*/{CARD_NAME}")), key=_natural)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    return natural_order(path.name)


def _is_path(name: str) -> bool:
    return "/" in name or "\\" in name or name in (".", "..")


def _known(name: str) -> str:
    every = list_shipped()
    near = difflib.get_close_matches(name.partition("/")[0], every, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"{meant}shipped are {', '.join(every)}; or give a bundle's folder"
