"""The project's documents, read the way that tests hold them to the code."""

from __future__ import annotations

import re
from pathlib import Path

from support.shared import ROOT

PROTOS = ROOT / "protos"
SERVER = ROOT / "server" / "speakerd_server"
CLIENT = ROOT / "client" / "speakerd_client"
DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "protos" / "README.md",
    ROOT / "server" / "README.md",
    ROOT / "client" / "README.md",
    ROOT / "deploy" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(path: Path) -> str:
    """Read a document."""
    return path.read_text(encoding="utf-8")


def table(path: Path, name: str) -> list[list[str]]:
    """Give the rows, without the header, of the table that stands under <!-- name -->."""
    _, found, after = text_of(path).partition(f"<!-- {name} -->\n")
    assert found, f"{path.name} has no table {name}"
    lines = after.split("\n\n", 1)[0].splitlines()
    assert re.fullmatch(r"(\| --- )+\|", lines[1]), f"the table {name} has no header"
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def blocks(path: Path, language: str) -> list[str]:
    """Give the fenced blocks of a language."""
    return [body for name, body in _FENCE.findall(text_of(path)) if name == language]


def prose(path: Path) -> str:
    """Give a document without its fenced blocks."""
    return _FENCE.sub("", text_of(path))


def proto_files() -> list[Path]:
    """Give the files of the contract, sorted."""
    return sorted((PROTOS / "speakerd" / "v1").glob("*.proto"))


def sources() -> list[Path]:
    """Give every Python file of ours but the generated ones, sorted."""
    roots = (SERVER, CLIENT, ROOT / "tests", ROOT / "deploy")
    return [PROTOS / "generate.py", *sorted(path for root in roots for path in root.rglob("*.py"))]
