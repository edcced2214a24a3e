from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from speakerd.v1 import admin_pb2, audio_pb2, enrollment_pb2, verification_pb2
from speakerd_server import errors
from speakerd_server.wire.status import CODES, code_of, retry_after_s
from support.named import all_kinds, made
from support.papers import PROTOS, proto_files, table, text_of

FILES: list[Any] = [
    module.DESCRIPTOR for module in (admin_pb2, audio_pb2, enrollment_pb2, verification_pb2)
]
BIN = Path(sys.executable).parent
CODE_NAMES = {code.name for code in CODES.values()}
REASONS = {kind.reason for kind in all_kinds()}
_CAPITALS = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
_NO_NAMES = {"SCORE_SCALE_", "AUDIO_ENCODING_"}


def enums() -> Iterator[Any]:
    for file in FILES:
        yield from file.enum_types_by_name.values()
        for message in file.message_types_by_name.values():
            yield from message.enum_types


def rpc_comments() -> dict[str, str]:
    """Give the comment that stands over each rpc."""
    found: dict[str, str] = {}
    for path in proto_files():
        comment: list[str] = []
        for line in text_of(path).splitlines():
            stripped = line.strip()
            if stripped.startswith("//"):
                comment.append(stripped.removeprefix("//").strip())
                continue
            rpc = re.match(r"rpc (\w+)\(", stripped)
            if rpc:
                found[rpc[1]] = " ".join(comment)
            comment = []
    return found


def run(*command: str, cwd: Path = PROTOS) -> subprocess.CompletedProcess[str]:
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"
    return subprocess.run(
        command, cwd=cwd, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )


def test_the_zero_of_every_enum_is_unspecified() -> None:
    zeros = {enum.name: enum.values_by_number[0].name for enum in enums()}
    assert len(zeros) >= 5
    wanted = {
        name: re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper() + "_UNSPECIFIED" for name in zeros
    }
    assert zeros == wanted


def test_time_on_the_wire_is_a_duration_or_a_timestamp() -> None:
    fields = [
        field
        for file in FILES
        for message in file.message_types_by_name.values()
        for field in message.fields
    ]
    assert len(fields) > 100
    units = re.compile(r"_(s|ms|us|ns|sec|seconds|millis|minutes)$")
    assert [field.full_name for field in fields if units.search(field.name)] == []


def test_every_rpc_names_the_codes_it_can_end_with() -> None:
    rpcs = {
        method.name
        for file in FILES
        for service in file.services_by_name.values()
        for method in service.methods
    }
    comments = rpc_comments()
    assert set(comments) == rpcs
    for rpc, comment in comments.items():
        _, ends, codes = comment.partition("Ends with ")
        assert ends, f"{rpc} does not say what it ends with"
        named = set(re.findall(r"\b[A-Z_]{4,}\b", re.sub(r"\([^)]*\)", "", codes)))
        assert named, f"{rpc} names no code"
        assert named <= CODE_NAMES, f"{rpc} names {named - CODE_NAMES}"


def test_whatever_a_comment_names_in_capitals_exists() -> None:
    values = {value.name for enum in enums() for value in enum.values}
    short = {
        value.removeprefix(re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper() + "_")
        for enum in enums()
        for value in (v.name for v in enum.values)
    }
    known = values | short | REASONS | {code.name for code in StatusCode}
    for path in proto_files():
        comments = "\n".join(re.findall(r"//(.*)", text_of(path)))
        assert set(_CAPITALS.findall(comments)) <= known, path.name


def test_the_error_table_is_the_errors_of_the_code() -> None:
    rows = {row[0]: (row[1], row[2]) for row in table(PROTOS / "README.md", "errors")}
    wanted = {}
    for kind in all_kinds():
        wait_s = retry_after_s(made(kind))
        retry = "no" if wait_s is None else f"after {wait_s:g} s"
        wanted[kind.reason] = (code_of(kind).name, retry)
    assert rows == wanted


def test_every_row_of_the_error_table_says_what_it_means_and_what_to_do() -> None:
    rows = table(PROTOS / "README.md", "errors")
    assert [row for row in rows if len(row) != 5 or not all(row)] == []
    names = [row[0] for row in rows]
    assert len(names) == len(set(names))


def test_every_error_is_drawn_in_the_tree() -> None:
    tree = errors.__doc__ or ""
    classes = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.SpeakerdError)
    }
    drawn = {word for word in re.findall(r"\b[A-Z][a-z]\w+", tree) if hasattr(errors, word)}
    assert classes - drawn == set()


@pytest.mark.timeout(60)
def test_the_generated_code_is_fresh() -> None:
    done = run(sys.executable, "generate.py", "--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(60)
def test_the_contract_keeps_the_style_guide() -> None:
    done = run(str(BIN / "buf"), "lint")
    assert done.returncode == 0, done.stdout + done.stderr
