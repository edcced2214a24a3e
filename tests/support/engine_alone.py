"""An engine process of its own, to be killed: `python engine_alone.py SOCKET DELAY_S`.

Says "listening" and embeds with a `FakeBackend` until it is ended; each batch takes so long.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.engine.fake import FakeBackend
from support.shared_ends import ported
from support.sounds import DIM


@contextmanager
def engine_process(path: Path, delay_s: float) -> Iterator[subprocess.Popen[str]]:
    """Start one and wait until it listens."""
    tests = str(Path(__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, __file__, str(path), str(delay_s)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": tests},
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield process
    finally:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


async def serve(path: Path, delay_s: float) -> None:
    """Embed until the process is ended, one window at a time."""
    settings = EngineSettings(maximum_batch_windows=1)
    async with ported(path, FakeBackend(DIM, delay_s=delay_s), settings=settings):
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), float(sys.argv[2])))
