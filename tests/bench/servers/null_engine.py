"""An engine process whose windows cost nothing, for `null_daemon.py` with several workers."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.servers.null_daemon import open_null
from speakerd_server.processes import entry
from speakerd_server.processes.engine_process import EngineProcess

if __name__ == "__main__":
    entry.main(lambda ask: EngineProcess(ask, open_null))
