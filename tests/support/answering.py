"""The least that a load can be run against: opens every call, answers every window at once.

`python tests/support/answering.py` serves until it is ended and says where. It hears nothing, so
what it costs is what grpc.aio costs; by it one measures the generator instead of a daemon.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc.aio
from speakerd.v1 import audio_pb2
from speakerd.v1 import verification_pb2 as pb

RATE_HZ = 16_000
FRAMES = 198
_SAMPLE_BYTES = {audio_pb2.AUDIO_ENCODING_PCM16LE: 2, audio_pb2.AUDIO_ENCODING_FLOAT32LE: 4}


async def answer(
    requests: AsyncIterator[bytes], context: Any = None
) -> AsyncGenerator[bytes, None]:
    """Follow the grammar of StreamVerify for any encoding and rate."""
    config = pb.StreamVerifyRequest.FromString(await anext(requests)).config
    rate_hz = config.audio_format.sample_rate_hz
    sample_bytes = _SAMPLE_BYTES.get(config.audio_format.encoding, 1)
    opened = pb.EffectiveSettings(
        domain="default",
        samples_per_chunk=32_000,
        model_sample_rate_hz=RATE_HZ,
        model=audio_pb2.ModelIdentity(name="none", version="1"),
    )
    yield pb.StreamVerifyResponse(opened=opened).SerializeToString()
    heard_bytes, windows = 0, 0
    async for request in requests:
        heard_bytes += len(pb.StreamVerifyRequest.FromString(request).audio)
        while heard_bytes // sample_bytes * RATE_HZ >= rate_hz * (
            160 * (FRAMES * (windows + 1) - 1) + 400
        ):
            windows += 1
            result = pb.VerificationResult(
                window_count=windows, committed_samples=160 * FRAMES * windows * rate_hz // RATE_HZ
            )
            yield pb.StreamVerifyResponse(update=result).SerializeToString()
    yield pb.StreamVerifyResponse(final=pb.VerificationResult()).SerializeToString()


async def serve() -> None:
    """Serve on a free port of the loopback and say which."""
    server = grpc.aio.server()
    method: Any = grpc.stream_stream_rpc_method_handler(answer)
    handler = grpc.method_handlers_generic_handler(
        "speakerd.v1.VerificationService", {"StreamVerify": method}
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"127.0.0.1:{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve())
