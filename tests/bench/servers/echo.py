"""A bare grpc.aio server: reads raw messages, answers one in twenty."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from speakerd.v1 import verification_pb2 as pb

ANSWER = pb.StreamVerifyResponse(
    update=pb.VerificationResult(window_count=1, reason="x" * 60)
).SerializeToString()


async def echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    number = 0
    async for _ in requests:
        number += 1
        if number % 20 == 0:
            yield ANSWER


async def main() -> None:
    server = grpc.aio.server()
    method: Any = grpc.stream_stream_rpc_method_handler(echo)
    handler = grpc.method_handlers_generic_handler(
        "speakerd.v1.VerificationService", {"StreamVerify": method}
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
