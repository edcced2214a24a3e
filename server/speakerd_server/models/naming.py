"""Where a new bundle goes: OUTPUT/NAME/VERSION, with names that every file system takes."""

from __future__ import annotations

import re
from pathlib import Path

from speakerd_server.errors import OptionInvalid, OutputUnusable
from speakerd_server.models.bundle import list_shipped

_ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def new_bundle_folder(output: Path, name: str, version: str, *, force: bool) -> Path:
    """Give the folder for a new bundle; nothing is made yet.

    Args:
        output: Folder of models.
        name: Of the model.
        version: Of the model.
        force: Whether a bundle that is there already may be replaced.

    Raises:
        OptionInvalid: The name or the version has a form that is not allowed, or the name is that
            of a shipped model, whose voiceprints could be taken for the new one's.
        OutputUnusable: The folder is there already, or may not be looked at.
    """
    for option, value in (("--name", name), ("--version", version)):
        if not _ALLOWED.fullmatch(value):
            raise OptionInvalid(
                option,
                f"{value!r} is not possible; use 1 to 64 letters, digits, '.', '_' and '-',"
                " a letter or digit first",
            )
    if name in list_shipped():
        raise OptionInvalid("--name", f"{name} is the name of a shipped model; choose another")
    folder = output / name / version
    try:
        # What an interrupted command left empty is in nobody's way.
        is_there = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise OutputUnusable(folder, error.strerror or str(error)) from error
    if is_there and not force:
        raise OutputUnusable(folder, "it exists already; give --force to replace it")
    return folder


def name_from_file(path: Path) -> str:
    """Make a model's name of a file's: what is not allowed becomes "-"; never empty."""
    fitting = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")
    return fitting[:64] or "model"
