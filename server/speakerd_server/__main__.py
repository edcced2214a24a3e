"""`python -m speakerd_server` and the executable `speakerd`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from speakerd_server.cli.app import speakerd
    except KeyboardInterrupt:
        sys.stderr.write("speakerd: interrupted\n")
        sys.exit(130)
    speakerd(prog_name="speakerd")


if __name__ == "__main__":
    main()
