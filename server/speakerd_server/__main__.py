"""`python -m speakerd_server` and the executable `speakerd`."""

from __future__ import annotations

import sys

_NO_ONNX_RUNTIME = (
    "ONNX Runtime is not installed; choose one: pip install 'speakerd-server[cpu]', or"
    " 'speakerd-server[gpu]' for NVIDIA GPUs"
)


def main() -> None:
    """Run the command line."""
    try:
        from speakerd_server.cli.app import speakerd
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        sys.stderr.write(f"speakerd: {_NO_ONNX_RUNTIME} [EXTRA_MISSING]\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("speakerd: interrupted\n")
        sys.exit(130)
    speakerd(prog_name="speakerd")


if __name__ == "__main__":
    main()
