"""Entry point of speakerctl and of `python -m speakerd_client`."""

from __future__ import annotations

import os
import sys

_ADVICE = """\
speakerctl needs more than the SDK. Install the command line with
  pip install "speakerd-client[cli,files]"
"""


def main() -> None:
    """Run the command line, or say what is missing."""
    # gRPC writes a line of its own whenever a connection ends, beside ours that says it better.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        from speakerd_client.cli.app import run
    except ImportError as error:
        missing = error.name in {"rich", "typer"}
        sys.stderr.write(_ADVICE if missing else f"speakerctl: cannot start: {error}\n")
        sys.exit(3)
    except KeyboardInterrupt:
        sys.stderr.write("speakerctl: interrupted\n")
        sys.exit(130)
    sys.exit(run())


if __name__ == "__main__":
    main()
