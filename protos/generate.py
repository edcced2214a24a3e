"""Rewrite gen/ from the .proto files; with --check, fail when gen/ is stale.

Needs grpcio-tools and mypy-protobuf (`make setup-dev`).
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

HERE = Path(__file__).resolve().parent
GEN = HERE / "gen"


def generate(into: Path) -> None:
    """Write the Python of every .proto of this folder below `into`."""
    from grpc_tools import protoc

    sources = sorted(str(path.relative_to(HERE)) for path in (HERE / "speakerd").rglob("*.proto"))
    well_known = str(resources.files("grpc_tools") / "_proto")
    outputs = [f"--{kind}_out={into}" for kind in ("python", "mypy", "grpc_python", "mypy_grpc")]
    if protoc.main(["protoc", f"-I{HERE}", f"-I{well_known}", *outputs, *sources]) != 0:
        sys.exit("protoc failed; its message is above")
    for package in (into / "speakerd" / "v1", into / "speakerd" / "kserve"):
        (package / "__init__.py").write_text('"""Wire types, generated: see protos/."""\n')
    (into / "speakerd" / "py.typed").touch()


def stale(fresh: Path, committed: Path) -> list[str]:
    """Name the files that differ between two trees."""
    names = {
        p.relative_to(root)
        for root in (fresh, committed)
        for p in root.rglob("*.py*")
        if "__pycache__" not in p.parts and p.is_file()
    }
    return sorted(
        str(name)
        for name in names
        if not (
            (fresh / name).is_file()
            and (committed / name).is_file()
            and filecmp.cmp(fresh / name, committed / name, shallow=False)
        )
    )


def main() -> None:
    """Generate, or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when stale")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        if check:
            names = stale(fresh, GEN)
            if names:
                sys.exit("stale generated code, run `make protos`: " + ", ".join(names))
            return
        shutil.rmtree(GEN, ignore_errors=True)
        shutil.copytree(fresh, GEN)


if __name__ == "__main__":
    main()
