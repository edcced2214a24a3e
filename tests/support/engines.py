"""Engine keys and files for tests, of no real engine."""

from __future__ import annotations

from speakerd_server.engine.engine_file import EngineFile
from speakerd_server.engine.engine_key import EngineKey, profiles_of
from speakerd_server.engine.lane import LaneSizes

SIZES = LaneSizes(dim=192, window_frames=198, batch_windows=64, longest_frames=3000)
KEY = EngineKey(
    model="campplus/1",
    model_sha256="80cc" * 16,
    front_end="3dspeaker-43544c32006a",
    precision="float16",
    recipe=1,
    library="tensorrt_rtx",
    library_version="1.7.1.116",
    target="compute capability 8.9",
    profiles=profiles_of(SIZES, 3),
)
ENGINE = EngineFile(KEY, bytes(range(256)) * 4)
COMMAND = "speakerd model build-engine campplus"
