"""Which front end a network wants: a family's by name, or one described in a small TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from speakerd_server.cards import FrontEndDescription
from speakerd_server.errors import OptionInvalid
from speakerd_server.models.front_end import DESCRIBED, FAMILIES, upper_edge_hz, wrong_in

_OPTION = "--front-end"
_LONGEST_BYTES = 1 << 16
_KEYS = {field.name: field for field in fields(FrontEndDescription) if field.name != "family"}
_KINDS = {"window": str, "mel_bins": int, "mean_removed": bool}


def choose_front_end(name: str) -> FrontEndDescription:
    """Give the description that `--front-end` means.

    Args:
        name: wespeaker, 3dspeaker, or the path of a TOML file whose keys are the fields of
            FrontEndDescription but for the family. A file that says what a family is gives that.

    Raises:
        OptionInvalid: It is neither; or the file has an unknown key, lacks sample_scale or window,
            or has a wrong value.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    path = Path(name)
    if path.suffix.lower() != ".toml":
        known = ", ".join(sorted(FAMILIES))
        raise OptionInvalid(_OPTION, f"{name} is unknown; give {known} or a description, NAME.toml")
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_BYTES)
        return _described(path, tomllib.loads(content.decode()))
    except OSError as error:
        raise OptionInvalid(_OPTION, f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise OptionInvalid(_OPTION, f"{path} is no TOML ({error})") from error


def _described(path: Path, table: dict[str, Any]) -> FrontEndDescription:
    unknown = sorted(set(table) - set(_KEYS))
    if unknown:
        known = ", ".join(_KEYS)
        raise OptionInvalid(_OPTION, f"{path} has the unknown key {unknown[0]}; there is {known}")
    needed = [name for name, field in _KEYS.items() if field.default is MISSING]
    missing = [name for name in needed if name not in table]
    if missing:
        raise OptionInvalid(_OPTION, f"{path} lacks {missing[0]}")
    values = {name: _value(path, name, value) for name, value in table.items()}
    description = FrontEndDescription(DESCRIBED, **values)
    wrong = wrong_in(description)
    if wrong:
        raise OptionInvalid(_OPTION, f"{path}, {wrong[0]}: {wrong[1]}")
    description = replace(description, high_hz=upper_edge_hz(description))
    families = (one for one in FAMILIES.values() if replace(one, family=DESCRIBED) == description)
    return next(families, description)


def _value(path: Path, name: str, value: object) -> Any:
    """Give a value of the right type; whole numbers may stand for others."""
    kind = _KINDS.get(name, float)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        wanted = {str: "text", int: "a whole number", bool: "true or false", float: "a number"}
        raise OptionInvalid(_OPTION, f"{path}: {name} must be {wanted[kind]}")
    return value
