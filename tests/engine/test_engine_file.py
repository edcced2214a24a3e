from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.engine.engine_file import (
    MAGIC,
    check_writable,
    engine_bytes,
    find_engine,
    parse_engine,
    read_engine,
    write_engine,
    write_engine_to,
)
from speakerd_server.errors import EngineFileMissing, EngineFileRefused, OutputUnusable
from support.engines import COMMAND, ENGINE, KEY

CONTENT = engine_bytes(ENGINE)
DAMAGE = r"no engine file|another format|cut off|damaged"


def refusal(path: Path) -> str:
    with pytest.raises(EngineFileRefused) as refused:
        read_engine(path, KEY, COMMAND)
    assert refused.value.path == path
    assert str(refused.value).endswith(f"build it anew: {COMMAND}")
    return refused.value.problem


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = write_engine(tmp_path / "new folder", ENGINE)
    assert path.name == KEY.file_name
    assert read_engine(path, KEY, COMMAND) == ENGINE
    assert find_engine(path.parent, KEY, COMMAND) == ENGINE
    assert [one.name for one in path.parent.iterdir()] == [KEY.file_name]
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_layout_of_the_file_is_as_described() -> None:
    (length,) = struct.unpack("<I", CONTENT[8:12])
    header = json.loads(CONTENT[12 : 12 + length])
    assert CONTENT[:8] == MAGIC
    assert header == KEY.to_fields() | {"plan_bytes": len(ENGINE.plan)}
    assert CONTENT[12 + length : -32] == ENGINE.plan
    assert CONTENT[-32:] == hashlib.sha256(CONTENT[:-32]).digest()


@given(st.integers(0, len(CONTENT) - 1))
def test_a_file_cut_off_anywhere_is_refused(kept: int) -> None:
    with pytest.raises(ValueError, match=DAMAGE):
        parse_engine(CONTENT[:kept])


@given(st.integers(0, 8 * len(CONTENT) - 1))
def test_a_file_with_one_bit_flipped_is_refused(bit: int) -> None:
    damaged = bytearray(CONTENT)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueError, match=DAMAGE):
        parse_engine(bytes(damaged))


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(content: bytes) -> None:
    for one in (content, MAGIC + content):
        with pytest.raises(ValueError, match=DAMAGE):
            parse_engine(one)


ENDLESS = [{"windows": [1, 1, float("inf")], "frames": [1, 1, 1]}]


def signed(header: bytes, plan: bytes = b"plan") -> bytes:
    content = MAGIC + struct.pack("<I", len(header)) + header + plan
    return content + hashlib.sha256(content).digest()


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"no json", "header cannot be read"),
        (b"{}", "header cannot be read"),
        (b"[]", "header cannot be read"),
        (b"[" * 60_000, "header cannot be read"),
        (
            json.dumps(KEY.to_fields() | {"profiles": ENDLESS}).encode(),
            "header cannot be read",
        ),
        (json.dumps(KEY.to_fields()).encode(), "header cannot be read"),
        (json.dumps(KEY.to_fields() | {"plan_bytes": 5}).encode(), "another length"),
    ],
)
def test_a_header_that_says_something_else_is_refused(header: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_engine(signed(header))


def test_another_format_is_refused_as_such(tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(CONTENT[:7] + b"\x02" + CONTENT[8:])
    assert refusal(path) == "it is an engine file of another format"


def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(b"ftrt" + bytes(1000))
    assert refusal(path) == "it is no engine file of speakerd"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("model_sha256", "0" * 64, "model sha256 000"),
        ("model", "campplus/2", "model campplus/2, campplus/1 is wanted"),
        ("front_end", "wespeaker-0", "front end wespeaker-0"),
        ("precision", "float32", "precision float32, float16 is wanted"),
        ("recipe", 0, "recipe 0, 1 is wanted"),
        ("library", "tensorrt", "library tensorrt, tensorrt_rtx is wanted"),
        ("library_version", "1.6.1.120", "library version 1.6.1.120, 1.7.1.116 is wanted"),
        ("target", "compute capability 8.6", "target compute capability 8.6"),
        ("profiles", KEY.profiles[:1], "profiles 1 to 64 (32) windows of 198 frames,"),
    ],
)
def test_a_stale_or_foreign_engine_is_refused_with_what_differs(
    tmp_path: Path, field: str, value: Any, said: str
) -> None:
    other = dataclasses.replace(ENGINE, key=dataclasses.replace(KEY, **{field: value}))
    renamed = tmp_path / KEY.file_name
    renamed.write_bytes(engine_bytes(other))
    assert said in refusal(renamed)
    renamed.unlink()
    path = write_engine(tmp_path, other)
    if field == "model":
        with pytest.raises(EngineFileMissing):
            find_engine(tmp_path, KEY, COMMAND)
        return
    with pytest.raises(EngineFileRefused) as refused:
        find_engine(tmp_path, KEY, COMMAND)
    assert refused.value.path == path
    assert said in refused.value.problem


def test_where_there_is_no_engine_the_command_that_builds_it_is_told(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(EngineFileMissing) as missing:
            find_engine(folder, KEY, COMMAND)
        assert missing.value.path == folder / KEY.file_name
        assert str(missing.value).endswith(f"build it: {COMMAND}")


def test_a_wanted_engine_is_found_beside_stale_ones(tmp_path: Path) -> None:
    write_engine(tmp_path, ENGINE)
    stale = dataclasses.replace(ENGINE, key=dataclasses.replace(KEY, precision="float32"))
    write_engine(tmp_path, stale)
    assert find_engine(tmp_path, KEY, COMMAND) == ENGINE


def test_a_folder_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputUnusable, match="file"):
        write_engine(tmp_path / "file", ENGINE)
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputUnusable):
        write_engine_to(tmp_path / "taken", ENGINE)
    with pytest.raises(OutputUnusable, match="Is a directory"):
        check_writable(tmp_path / "taken")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "taken"]


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    path.mkdir()
    assert "cannot be read" in refusal(path)
