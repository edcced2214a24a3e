"""Connections to the daemon, open before the load: each channel has an HTTP/2 one of its own."""

from __future__ import annotations

import asyncio
import resource

import grpc.aio

from speakerd_client.errors import InvalidLoad, NotReachable
from speakerd_client.requests import MESSAGE_LIMIT_BYTES

CONNECT_S = 10.0
"""Longest wait for all connections of a process."""
_OTHER_DESCRIPTORS = 32
_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),  # else channels to one address share a connection
    ("grpc.enable_retries", 0),  # a load counts every failure
    ("grpc.max_send_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]


def check_descriptors(connections: int, processes: int) -> None:
    """Raise InvalidLoad when a process may not open as many files as it has connections."""
    needed = -(-connections // processes) + _OTHER_DESCRIPTORS
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and needed > limit:
        raise InvalidLoad(
            f"{connections} connections of {processes} generating process{'es' * (processes > 1)}"
            f" need {needed} file descriptors in each, and {limit} are allowed: raise the limit"
            f" (ulimit -n {needed}), or take fewer --connections or more --processes"
        )


async def connected(address: str, count: int) -> list[grpc.aio.Channel]:
    """Open so many connections.

    Raises:
        NotReachable: They are not all open within CONNECT_S; none is left open then.
    """
    channels = [grpc.aio.insecure_channel(address, options=_OPTIONS) for _ in range(count)]
    try:
        async with asyncio.timeout(CONNECT_S):
            await asyncio.gather(*(channel.channel_ready() for channel in channels))
    except TimeoutError as error:
        ready = grpc.ChannelConnectivity.READY
        opened = sum(channel.get_state() is ready for channel in channels)
        await closed(channels)
        raise NotReachable(
            f"{opened} of {count} connections to {address} were open after {CONNECT_S:g} s; is the"
            " daemon running there, and does it take so many?"
        ) from error
    return channels


async def closed(channels: list[grpc.aio.Channel]) -> None:
    """Close them all, breaking off what is going on."""
    await asyncio.gather(*(channel.close() for channel in channels))
