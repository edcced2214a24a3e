"""All settings: gathered from the rooms' dataclasses; defaults < file < environment < flags.

A setting is written once, as a field beside the code that obeys it. Its name in the file is
`[section] field`, in the environment SPEAKERD_SECTION_FIELD, as a flag --section-field.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from speakerd_server.calls.inference_catalog import KserveSettings
from speakerd_server.calls.serving import CallSettings
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.engine.gpu_settings import GpuSettings
from speakerd_server.engine.remote_settings import RemoteSettings
from speakerd_server.errors import SettingInvalid
from speakerd_server.gate.settings import GateSettings
from speakerd_server.logs import LogSettings
from speakerd_server.models.choice import ModelSettings
from speakerd_server.quality.limits import QualitySettings
from speakerd_server.store.expiry import ExpirySettings
from speakerd_server.store.open_store import StoreSettings
from speakerd_server.wire.server import ServerSettings

_WRITTEN = "use up to 64 letters, digits, '.', '_' and '-'"
CONFIG_VARIABLE = "SPEAKERD_CONFIG"
_PREFIX = "SPEAKERD_"
_TAKEN_FROM: Mapping[type, tuple[type, ...]] = {
    Path: (str, Path),
    float: (int, float, str),
    int: (int, str),
    str: (str,),
    bool: (bool, str),
}
_TRUTHS: Mapping[str, bool] = {"true": True, "false": False}
# The client's address, and what Kubernetes sets for services whose names begin with speakerd.
_NOT_OURS = re.compile(
    r"SPEAKERD_(ADDRESS=.*|(.+_)?SERVICE_(HOST|PORT)(_.+)?=.*"
    r"|(.+_)?PORT_\d+_(TCP|UDP|SCTP)(_.+)?=.*|(.+_)?PORT=(tcp|udp|sctp)://.*)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set, by room."""

    server: ServerSettings = field(default_factory=ServerSettings)
    """Where the daemon listens and how it stops."""
    calls: CallSettings = field(default_factory=CallSettings)
    """What clients may ask for."""
    model: ModelSettings = field(default_factory=ModelSettings)
    """Which models are loaded."""
    engine: EngineSettings = field(default_factory=EngineSettings)
    """How windows are embedded."""
    gpu: GpuSettings = field(default_factory=GpuSettings)
    """How GPUs are used."""
    remote: RemoteSettings = field(default_factory=RemoteSettings)
    """How engines elsewhere are asked."""
    store: StoreSettings = field(default_factory=StoreSettings)
    """Where voiceprints are kept."""
    expiry: ExpirySettings = field(default_factory=ExpirySettings)
    """How long voiceprints can be used."""
    gate: GateSettings = field(default_factory=GateSettings)
    """Which audio counts as speech."""
    quality: QualitySettings = field(default_factory=QualitySettings)
    """How good the audio of a call must be."""
    kserve: KserveSettings = field(default_factory=KserveSettings)
    """How KServe's inference protocol is served."""
    logs: LogSettings = field(default_factory=LogSettings)
    """What is logged."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it is documented and read."""

    section: str
    """Table of the file."""
    name: str
    """Key in that table."""
    kind: Any
    """Python type."""
    default: Any
    """Value where nothing is set."""
    limits: Mapping[str, Any]
    """minimum, maximum, choices; of a list: each (a pattern), written (what that
    means), contains (a member), may_be_empty."""
    help: str
    """What it does."""

    @property
    def dotted(self) -> str:
        """Name in messages: section.name."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """Name in the environment."""
        return f"{_PREFIX}{self.section}_{self.name}".upper()

    @property
    def flag(self) -> str:
        """Name on the command line."""
        return f"--{self.section}-{self.name}".replace("_", "-")


def all_settings() -> Iterator[Setting]:
    """Go through every setting in file order."""
    for section in fields(Settings):
        kind = typing.get_type_hints(Settings)[section.name]
        hints, docs = typing.get_type_hints(kind), _docs(kind)
        for one in fields(kind):
            yield Setting(
                section.name, one.name, hints[one.name], _default(one), one.metadata, docs[one.name]
            )


def load(
    file: Path | None = None,
    environment: Mapping[str, str] = types.MappingProxyType({}),
    flags: Mapping[str, Any] = types.MappingProxyType({}),
) -> Settings:
    """Read all settings; `flags` maps dotted names to values.

    Raises SettingInvalid, naming the setting and where it came from, for anything unknown, of the
    wrong type or out of range.
    """
    known = {setting.dotted: setting for setting in all_settings()}
    given: dict[str, Any] = {}
    for source, values in (
        (f"file {file}", _from_file(file)),
        ("environment", _from_environment(environment, known)),
        ("command line", flags),
    ):
        for name, value in values.items():
            if name not in known:
                raise SettingInvalid(name, source, _unknown(name, known))
            given[name] = _checked(known[name], value, source)
    return _built(given)


def _built(given: Mapping[str, Any]) -> Settings:
    rooms = {}
    for section in fields(Settings):
        kind = typing.get_type_hints(Settings)[section.name]
        prefix = section.name + "."
        mine = {k.removeprefix(prefix): v for k, v in given.items() if k.startswith(prefix)}
        rooms[section.name] = kind(**mine)
    return Settings(**rooms)


def _from_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    source = f"file {file}"
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingInvalid("(the whole file)", source, f"cannot be read: {error}") from None
    flat: dict[str, Any] = {}
    for section, table in tables.items():
        if not isinstance(table, dict):
            raise SettingInvalid(section, source, "stands outside of a [section]")
        flat |= {f"{section}.{name}": value for name, value in table.items()}
    return flat


def _from_environment(
    environment: Mapping[str, str], known: Mapping[str, Setting]
) -> dict[str, str]:
    names = {setting.variable: dotted for dotted, setting in known.items()}
    found: dict[str, str] = {}
    for variable, value in environment.items():
        if not variable.startswith(_PREFIX) or variable == CONFIG_VARIABLE:
            continue
        if _NOT_OURS.fullmatch(f"{variable}={value}"):
            continue
        if variable not in names:
            raise SettingInvalid(variable, "environment", _unknown(variable, names))
        found[names[variable]] = value
    return found


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    import difflib  # only needed to say what was meant

    close = difflib.get_close_matches(name, list(known), n=1)
    hint = f"; did you mean {close[0]}?" if close else "; `speakerd settings` lists all"
    return f"is not a setting{hint}"


def _checked(setting: Setting, value: Any, source: str) -> Any:
    try:
        value = _typed(setting.kind, value, "may_be_empty" in setting.limits)
    except (ValueError, TypeError):
        is_list = typing.get_origin(setting.kind) is tuple
        kind = "list of names" if is_list else setting.kind.__name__
        raise SettingInvalid(setting.dotted, source, f"{value!r} is not a {kind}") from None
    limits = setting.limits
    for name in value if "each" in limits else ():
        if not re.fullmatch(limits["each"], name):
            problem = f"{name!r} is none; {limits.get('written', _WRITTEN)}"
            raise SettingInvalid(setting.dotted, source, problem)
    if "contains" in limits and limits["contains"] not in value:
        raise SettingInvalid(setting.dotted, source, f"{limits['contains']!r} must be among them")
    lowest, highest = limits.get("minimum"), limits.get("maximum")
    if lowest is not None and not lowest <= value <= highest:
        raise SettingInvalid(
            setting.dotted, source, f"{value!r} is not between {lowest} and {highest}"
        )
    if "choices" in limits and value not in limits["choices"]:
        choices = ", ".join(limits["choices"])
        raise SettingInvalid(setting.dotted, source, f"{value!r} is not one of {choices}")
    return value


def _typed(kind: Any, value: Any, may_be_empty: bool) -> Any:
    if typing.get_origin(kind) is tuple:
        return _names(value, may_be_empty)
    if isinstance(value, bool) and kind is not bool:
        raise TypeError
    if not isinstance(value, _TAKEN_FROM[kind]) or (kind is Path and not str(value)):
        raise TypeError
    if "\0" in str(value):
        raise ValueError
    return _truth(value) if kind is bool else kind(value)


def _names(value: Any, may_be_empty: bool) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if may_be_empty and parts in ([""], [], ()):
        return ()
    if not isinstance(parts, list | tuple) or not all(isinstance(p, str) for p in parts):
        raise TypeError
    cleaned = tuple(part.strip() for part in parts)
    if not cleaned or not all(cleaned):
        raise ValueError
    return cleaned


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value.lower() not in _TRUTHS:
        raise ValueError
    return _TRUTHS[value.lower()]


def _default(one: Field[Any]) -> Any:
    if one.default_factory is not MISSING:
        return one.default_factory()
    return one.default


@functools.cache
def _docs(kind: type) -> dict[str, str]:
    """Read the string that stands under each field of a dataclass."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for line, after in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(line, ast.AnnAssign)
            and isinstance(line.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[line.target.id] = " ".join(str(after.value.value).split())
    return found
