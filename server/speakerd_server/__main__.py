"""`python -m speakerd_server` and the executable `speakerd`."""

from speakerd_server.cli.app import speakerd


def main() -> None:
    """Run the command line."""
    speakerd(prog_name="speakerd")


if __name__ == "__main__":
    main()
