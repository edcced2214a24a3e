"""An engine process over a `FakeBackend`, for fleets: its file is what Python is to run.

Variables say how it behaves; ONLY names the one engine that they are for, else they are for all.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from speakerd_server.cards import Bundle
from speakerd_server.config import Settings
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.lanes import Lanes
from speakerd_server.errors import DeviceUnavailable
from speakerd_server.processes import entry
from speakerd_server.processes.engine_process import EngineProcess
from speakerd_server.processes.fleet import Programs

PROGRAMS = Programs(engine=(__file__,))
ONLY = "SPEAKERD_TEST_ONLY"
SLOW = "SPEAKERD_TEST_SLOW"
"""VERSION=SECONDS that models of a version take to be loaded."""
REFUSED = "SPEAKERD_TEST_REFUSED"
"""Version of models that it refuses."""
BROKEN = "SPEAKERD_TEST_BROKEN"
"""While this file is there, it fails to begin, in a way that has no name."""
ENDS = "SPEAKERD_TEST_ENDS"
"""Version of models over which it ends."""


def behaviour(name: str) -> str:
    """Give the value of a variable that is for this engine; else nothing."""
    return os.environ.get(name, "") if os.environ.get(ONLY, sys.argv[3]) == sys.argv[3] else ""


def open_fake(bundle: Bundle, device: str, settings: Settings) -> Lanes:
    """Open a model as the variables say."""
    version = bundle.card.identity.version
    slow, _, seconds = behaviour(SLOW).partition("=")
    if version == slow:
        time.sleep(float(seconds))
    if version == behaviour(ENDS):
        os._exit(5)
    if version == behaviour(REFUSED):
        raise DeviceUnavailable(device, "nothing")
    return Lanes(bundle.card.dim, [FakeBackend(bundle.card.dim)])


def main() -> None:
    """Be an engine."""
    broken = behaviour(BROKEN)
    if broken and Path(broken).exists():
        raise SystemExit(6)
    entry.main(lambda ask: EngineProcess(ask, open_fake))


if __name__ == "__main__":
    main()
