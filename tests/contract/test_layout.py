from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import speakerd_server
from support.papers import CLIENT, SERVER, sources, text_of
from support.shared import ROOT

LONGEST_MODULE = 300
# The errors are one tree in one file, so that nobody has to look for a second one.
ONE_TREE = SERVER / "errors.py"
LONGEST_FUNCTION = 50
LONGEST_ROOM_DOCSTRING = 15
ROOMS = sorted(path.parent for root in (SERVER, CLIENT) for path in root.glob("*/__init__.py"))
OURS = [path for path in sources() if ROOT / "tests" not in path.parents]
_QUEUES = {
    "Queue": "maxsize",
    "LifoQueue": "maxsize",
    "PriorityQueue": "maxsize",
    "deque": "maxlen",
}
_VAGUE = {"utils", "helpers", "common", "misc", "manager", "base", "util", "helper"}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path), filename=str(path))


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Subscript):
                function = function.value
            name = function.attr if isinstance(function, ast.Attribute) else None
            yield name or (function.id if isinstance(function, ast.Name) else ""), node


def unbounded(tree: ast.Module) -> list[int]:
    """Give the lines that make a queue without a bound."""
    found = []
    for name, call in calls(tree):
        if name == "SimpleQueue":
            found.append(call.lineno)
        if name in _QUEUES:
            by_place = 1 if name == "deque" else 0
            bounded = len(call.args) > by_place or any(
                keyword.arg == _QUEUES[name] for keyword in call.keywords
            )
            if not bounded:
                found.append(call.lineno)
    return found


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function without its docstring."""
    total = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        total -= (first.end_lineno or first.lineno) - first.lineno + 1
    return total


@pytest.mark.parametrize("path", sources(), ids=named)
def test_no_module_is_longer_than_a_reader_takes_in(path: Path) -> None:
    assert len(text_of(path).splitlines()) <= LONGEST_MODULE or path == ONE_TREE
    assert path.stem not in _VAGUE


@pytest.mark.parametrize("path", sources(), ids=named)
def test_no_function_is_longer_than_a_screen(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = [node.name for node in functions if function_lines(node) > LONGEST_FUNCTION]
    assert long == []


def test_nothing_is_left_to_do_in_the_sources() -> None:
    left = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)))
    assert [named(path) for path in sources() if left.search(text_of(path))] == []


def test_only_what_talks_to_a_person_prints() -> None:
    may = {
        ROOT / "protos" / "generate.py",
        ROOT / "deploy" / "demo",
        ROOT / "tests" / "bench",
        ROOT / "tests" / "accuracy",
    }
    printing = [
        path for path in sources() if any(name == "print" for name, _ in calls(tree_of(path)))
    ]
    assert [named(path) for path in printing if not may & {path, *path.parents}] == []


@pytest.mark.parametrize("path", OURS, ids=named)
def test_no_queue_is_unbounded(path: Path) -> None:
    assert unbounded(tree_of(path)) == []


@pytest.mark.parametrize(
    ("line", "is_unbounded"),
    [
        ("asyncio.Queue()", True),
        ("asyncio.Queue[int]()", True),
        ("queue.SimpleQueue()", True),
        ("deque()", True),
        ("collections.deque([1])", True),
        ("asyncio.Queue(8)", False),
        ("queue.Queue(maxsize=8)", False),
        ("deque(maxlen=8)", False),
        ("deque([], 8)", False),
    ],
)
def test_an_unbounded_queue_would_be_seen(line: str, is_unbounded: bool) -> None:
    assert unbounded(ast.parse(line)) == ([1] if is_unbounded else [])


@pytest.mark.parametrize("room", ROOMS, ids=named)
def test_a_room_begins_with_a_short_docstring_and_no_code(room: Path) -> None:
    tree = tree_of(room / "__init__.py")
    docstring = ast.get_docstring(tree)
    assert docstring
    assert len(docstring.splitlines()) <= LONGEST_ROOM_DOCSTRING
    assert len(tree.body) == 1


def test_the_three_distributions_have_one_version() -> None:
    projects = {
        name: tomllib.loads(text_of(ROOT / name / "pyproject.toml"))["project"]
        for name in ("protos", "server", "client")
    }
    versions = {project["version"] for project in projects.values()}
    assert versions == {speakerd_server.__version__}
    for name in ("server", "client"):
        needed = [d for d in projects[name]["dependencies"] if d.startswith("speakerd-protos")]
        assert needed == [f"speakerd-protos=={speakerd_server.__version__}"]


@pytest.mark.parametrize("project", ["protos", "server", "client"])
def test_every_distribution_carries_the_licence_and_the_notices(project: str) -> None:
    for name in ("LICENSE", "NOTICE"):
        assert text_of(ROOT / project / name) == text_of(ROOT / name), "copy the root's"
    stated = tomllib.loads(text_of(ROOT / project / "pyproject.toml"))["project"]
    assert stated["license-files"][:2] == ["LICENSE", "NOTICE"]
    assert stated["readme"] == "README.md"


def test_the_changelog_begins_with_the_version() -> None:
    headings = re.findall(r"^## (.+)$", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert headings[0] in (speakerd_server.__version__, "Unreleased")
    assert speakerd_server.__version__ in headings


def test_every_dependency_has_one_pinned_version() -> None:
    pinned = re.findall(r"^([A-Za-z0-9_.-]+)==", text_of(ROOT / "constraints.txt"), re.MULTILINE)
    pins = [name.lower().replace("_", "-") for name in pinned]
    assert len(pins) == len(set(pins))
    wanted = set()
    for name in ("protos", "server", "client"):
        project = tomllib.loads(text_of(ROOT / name / "pyproject.toml"))["project"]
        extras = project.get("optional-dependencies", {}).values()
        for line in [*project["dependencies"], *(d for extra in extras for d in extra)]:
            wanted.add(re.split(r"[\[=<>~!; ]", line)[0].lower().replace("_", "-"))
    ours = {"speakerd-protos", "speakerd-server", "speakerd-client"}
    assert wanted - ours - set(pins) == set()
