"""Live streams carried with a p99 decision lag under 0.5 s, against what the bare engine could.

Prints one JSON line. 16 kHz PCM16LE in 100 ms messages, start phases spread evenly over a window,
real-time pace. The ceiling is bare windows/s times the window hop (1.98 s), measured before every
step of the search. Lags are seen by the client. Bar (design section 9): 0.90.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.bare import BareEngine
from support.daemon import Daemon
from support.load import Load, Pace, paced_streams
from support.speech import noise, pcm16

FRAMES = 198
HOP_S = FRAMES * 0.01
MESSAGE_SAMPLES = 1600
LIMIT_MS = 500.0
SHARES = (0.70, 0.80, 0.85, 0.90, 0.95, 1.0)
STEP_S = 16.0
SETTLE_S = 6.0


def last_message_of_window(window: int) -> int:
    """Number of the 100 ms message with the last sample of a window."""
    samples = 160 * ((window + 1) * FRAMES - 1) + 400
    return (samples - 1) // MESSAGE_SAMPLES


def main() -> None:
    bare = BareEngine(FRAMES)
    layout = bare.best()
    pace = Pace(
        message=pcm16(noise(0.1)),
        message_s=0.1,
        config=pb.VerificationConfig(speaker_id="load", audio_format=wire.PCM16),
        last_message_of_window=last_message_of_window,
        window_s=HOP_S,
    )
    steps = []
    with tempfile.TemporaryDirectory() as folder, Daemon(Path(folder)) as daemon:
        with wire.connected(daemon.address) as stubs:
            wire.enroll(stubs, "load", pcm16(noise(4.0)))
        for share in SHARES:
            ceiling = bare.windows_per_s(layout, 4.0) * HOP_S
            streams = round(share * ceiling)
            load = asyncio.run(
                paced_streams(
                    daemon.address, pace, streams=streams, seconds=STEP_S, settle_s=SETTLE_S
                )
            )
            steps.append(_step(share, streams, ceiling, load))
            if not steps[-1]["carried"]:
                break
    carried = [step for step in steps if step["carried"]]
    best = carried[-1] if carried else None
    print(
        json.dumps(
            {
                "bench": "live",
                "cores": os.cpu_count(),
                "ratio": best["share"] if best else 0.0,
                "streams": best["streams"] if best else 0,
                "ceiling_streams": best["ceiling"] if best else None,
                "bare_layout": str(layout),
                "steps": steps,
            }
        )
    )


def _step(share: float, streams: int, ceiling: float, load: Load) -> dict[str, object]:
    p99_ms = load.percentile_ms(99)
    return {
        "share": share,
        "streams": streams,
        "ceiling": round(ceiling, 1),
        "p50_ms": load.percentile_ms(50),
        "p99_ms": p99_ms,
        "carried": p99_ms is not None and p99_ms < LIMIT_MS and not load.errors,
        "generator_cores": round(load.generator_cpu_s / load.wall_s, 3),
        "errors": load.errors,
    }


if __name__ == "__main__":
    main()
