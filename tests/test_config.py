from __future__ import annotations

import math
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.config import Setting, Settings, all_settings, load
from speakerd_server.errors import SettingInvalid

ALL = list(all_settings())
BOUNDED = [setting for setting in ALL if "minimum" in setting.limits]
Loader = Callable[[str, Any], Settings]


def written(value: object) -> str:
    """Write a value as TOML."""
    if isinstance(value, tuple | list):
        return "[" + ", ".join(written(part) for part in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else f'"{value}"'


def spelt(value: object) -> str:
    """Spell a value for a variable or a flag."""
    return ",".join(value) if isinstance(value, tuple | list) else str(value)


@pytest.fixture
def by_file(tmp_path: Path) -> Loader:
    def loaded(name: str, value: object) -> Settings:
        section, _, key = name.partition(".")
        file = tmp_path / "speakerd.toml"
        file.write_text(f"[{section}]\n{key} = {written(value)}\n")
        return load(file)

    return loaded


def by_environment(name: str, value: object) -> Settings:
    return load(environment={"SPEAKERD_" + name.replace(".", "_").upper(): spelt(value)})


def by_flags(name: str, value: object) -> Settings:
    return load(flags={name: spelt(value)})


def value_of(settings: Settings, setting: Setting) -> object:
    return getattr(getattr(settings, setting.section), setting.name)


def beyond(setting: Setting) -> list[object]:
    step = 1 if setting.kind is int else 0.5
    values = [setting.limits["minimum"] - step, setting.limits["maximum"] + step]
    return values if setting.kind is int else [*values, math.nan, math.inf]


def test_nothing_given_means_the_defaults() -> None:
    assert load() == Settings()
    assert [value_of(load(), setting) for setting in ALL] == [setting.default for setting in ALL]


def test_every_setting_is_explained_and_its_default_is_allowed() -> None:
    for setting in ALL:
        assert setting.help.endswith("."), setting.dotted
        assert by_flags(setting.dotted, setting.default) == Settings(), setting.dotted
        if setting.kind in (int, float):
            assert set(setting.limits) == {"minimum", "maximum"}, setting.dotted


def test_a_setting_has_one_name_in_three_spellings() -> None:
    drain = next(setting for setting in ALL if setting.dotted == "server.drain_grace_s")
    assert drain.variable == "SPEAKERD_SERVER_DRAIN_GRACE_S"
    assert drain.flag == "--server-drain-grace-s"
    assert len({setting.variable for setting in ALL}) == len(ALL)
    assert len({setting.flag for setting in ALL}) == len(ALL)


@pytest.mark.parametrize("setting", BOUNDED, ids=lambda setting: setting.dotted)
def test_each_source_can_set_what_is_in_range(setting: Setting, by_file: Loader) -> None:
    for value in (setting.limits["minimum"], setting.limits["maximum"]):
        for loaded in (by_file, by_environment, by_flags):
            assert value_of(loaded(setting.dotted, value), setting) == value


@pytest.mark.parametrize("setting", BOUNDED, ids=lambda setting: setting.dotted)
def test_what_is_out_of_range_is_refused_by_name(setting: Setting, by_file: Loader) -> None:
    sources = {by_file: "file ", by_environment: "environment", by_flags: "command line"}
    for value in beyond(setting):
        for loaded, source in sources.items():
            with pytest.raises(SettingInvalid, match="is not between") as refusal:
                loaded(setting.dotted, value)
            assert refusal.value.name == setting.dotted
            assert refusal.value.source.startswith(source)


@pytest.mark.parametrize("setting", BOUNDED, ids=lambda setting: setting.dotted)
def test_what_is_no_number_is_refused_by_name(setting: Setting, by_file: Loader) -> None:
    for loaded in (by_file, by_environment, by_flags):
        for value in ("many", "", "1 2"):
            with pytest.raises(SettingInvalid, match="is not a") as refusal:
                loaded(setting.dotted, value)
            assert refusal.value.name == setting.dotted
    with pytest.raises(SettingInvalid, match="True is not a"):
        by_file(setting.dotted, True)


def test_a_level_that_does_not_exist_is_refused_with_those_that_do(by_file: Loader) -> None:
    for loaded in (by_file, by_environment, by_flags):
        with pytest.raises(SettingInvalid, match="debug, info, warning, error"):
            loaded("logs.level", "loud")


@pytest.mark.parametrize("name", ["server.adress", "calls.maximum_stream", "engine.worker"])
def test_a_misspelt_name_is_refused_with_the_right_one(name: str, by_file: Loader) -> None:
    for loaded in (by_file, by_environment, by_flags):
        with pytest.raises(SettingInvalid, match=r"is not a setting; did you mean \S+\?"):
            loaded(name, 1)


def test_a_name_like_no_other_is_refused_with_where_to_look(by_file: Loader) -> None:
    for loaded in (by_file, by_environment, by_flags):
        with pytest.raises(SettingInvalid, match="`speakerd settings` lists all"):
            loaded("zzz.qqqqqqqqqqqq", 1)


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "speakerd.toml"
    file.write_text(
        "[calls]\nmaximum_streams = 1\nmaximum_unary_calls = 1\nwindows_in_flight = 1\n"
    )
    environment = {
        "SPEAKERD_CALLS_MAXIMUM_UNARY_CALLS": "2",
        "SPEAKERD_CALLS_WINDOWS_IN_FLIGHT": "2",
    }
    calls = load(file, environment, {"calls.windows_in_flight": "3"}).calls
    assert calls.maximum_streams == 1
    assert calls.maximum_unary_calls == 2
    assert calls.windows_in_flight == 3
    assert calls.idle_timeout_s == Settings().calls.idle_timeout_s


def test_a_wrong_value_is_refused_even_where_a_later_one_wins(tmp_path: Path) -> None:
    file = tmp_path / "speakerd.toml"
    file.write_text("[calls]\nmaximum_streams = 0\n")
    with pytest.raises(SettingInvalid, match=r"calls\.maximum_streams \(from file "):
        load(file, flags={"calls.maximum_streams": "5"})


def test_lists_are_written_with_commas_or_as_toml(by_file: Loader) -> None:
    assert by_file("calls.domains", ("default", "two")).calls.domains == ("default", "two")
    assert by_environment("calls.domains", "one, default").calls.domains == ("one", "default")
    assert by_flags("calls.domains", "default").calls.domains == ("default",)


@pytest.mark.parametrize("value", ["", ",", "one,,two"])
def test_a_list_with_an_empty_name_is_refused(value: str) -> None:
    with pytest.raises(SettingInvalid, match=r"calls\.domains"):
        by_environment("calls.domains", value)


@pytest.mark.parametrize("value", ["[]", "[1]", '["one", ""]', "3", '[["one"]]'])
def test_a_list_of_something_else_is_refused(value: str, tmp_path: Path) -> None:
    file = tmp_path / "speakerd.toml"
    file.write_text(f"[calls]\ndomains = {value}\n")
    with pytest.raises(SettingInvalid, match=r"calls\.domains .* is not a list of names"):
        load(file)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("address = 'x'\n", "stands outside of a \\[section\\]"),
        ("[server\n", "cannot be read"),
        ("[server]\naddress = 1\n", "is not a str"),
        ("[store]\npath = ''\n", "is not a Path"),
        ("[server.address]\nhost = 'x'\n", "is not a str"),
        ("[[server]]\naddress = 'x'\n", "stands outside of a \\[section\\]"),
    ],
)
def test_a_file_that_is_no_settings_file_is_refused(
    text: str, problem: str, tmp_path: Path
) -> None:
    file = tmp_path / "speakerd.toml"
    file.write_text(text)
    with pytest.raises(SettingInvalid, match=problem) as refusal:
        load(file)
    assert refusal.value.source == f"file {file}"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for name in ("absent.toml", "binary.toml", "."):
        with pytest.raises(SettingInvalid, match="cannot be read") as refusal:
            load(tmp_path / name)
        assert refusal.value.source == f"file {tmp_path / name}"


@pytest.mark.parametrize(
    "variable",
    [
        "SPEAKERD_CONFIG",
        "SPEAKERD_ADDRESS",
        "SPEAKERD_PORT",
        "SPEAKERD_PORT_8001_TCP",
        "SPEAKERD_PORT_8001_TCP_ADDR",
        "SPEAKERD_SERVICE_HOST",
        "SPEAKERD_SERVICE_PORT",
        "SPEAKERD_SERVICE_PORT_GRPC",
        "SPEAKERD_METRICS_PORT",
        "SPEAKERD_METRICS_SERVICE_HOST",
        "PATH",
        "MY_SPEAKERD_SERVER_ADDRESS",
    ],
)
def test_variables_that_are_not_ours_are_left_alone(variable: str) -> None:
    assert load(environment={variable: "tcp://10.0.0.1:8001"}) == Settings()


def test_a_port_that_kubernetes_did_not_set_is_no_setting_of_ours() -> None:
    with pytest.raises(SettingInvalid, match="SPEAKERD_SERVER_PORT"):
        load(environment={"SPEAKERD_SERVER_PORT": "8001"})


def test_a_path_with_a_nul_is_refused() -> None:
    with pytest.raises(SettingInvalid, match=r"store\.path"):
        load(flags={"store.path": "a\0b"})


@given(setting=st.sampled_from(ALL), text=st.text(max_size=40))
def test_whatever_a_variable_holds_it_is_taken_or_refused_by_name(
    setting: Setting, text: str
) -> None:
    environment = {setting.variable: text}
    try:
        value = value_of(load(environment=environment), setting)
    except SettingInvalid:
        with pytest.raises(SettingInvalid) as refusal:
            load(environment=environment)
        assert (refusal.value.name, refusal.value.source) == (setting.dotted, "environment")
    else:
        assert isinstance(value, typing.get_origin(setting.kind) or setting.kind)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}\.[a-z]{1,8}", fullmatch=True), st.text()))
def test_names_that_are_no_settings_are_never_taken(flags: dict[str, str]) -> None:
    known = {setting.dotted for setting in ALL}
    if flags.keys() <= known:
        return
    with pytest.raises(SettingInvalid):
        load(flags=flags)
