"""A daemon of several processes over fake engines: `python fake_fleet.py FOLDER`.

Once it serves it says the ids of its processes, in one line.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from speakerd_server.life import Addresses
from speakerd_server.processes import supervisor
from support.fake_engine import PROGRAMS
from support.fleets import children_now, fleet_settings


def announce(_: Addresses) -> None:
    """Say which processes there are."""
    sys.stdout.write(" ".join(map(str, children_now())) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    settings = fleet_settings(Path(sys.argv[1]), server__workers=1)
    asyncio.run(supervisor.run(settings, announce, PROGRAMS))
