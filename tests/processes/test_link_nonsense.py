from __future__ import annotations

import asyncio
import pickle
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_server.processes.link import LinkLost
from support.links import bare, framed

GARBAGE = {
    "a length beyond all measure": struct.pack("<I", (1 << 32) - 1),
    "bytes that are no pickle": struct.pack("<I", 5) + b"hello",
    "no bytes at all": struct.pack("<I", 0),
    "a pickle that is no message": framed("hello"),
    "a message with a part too much": framed((1, 2, 3, 4)),
    "a pickle cut short": struct.pack("<I", 3) + pickle.dumps((0, 0, "hello"))[:3],
    "a pickle of a class that is not there": struct.pack("<I", 17) + b"\x80\x04cnowhere\nNone\n.",
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_ends_the_link_and_every_question(content: bytes) -> None:
    async with bare() as (link, other, lost):
        asked = asyncio.create_task(link.ask(1))
        await asyncio.sleep(0)
        other.send(content)
        with pytest.raises(LinkLost):
            await asyncio.wait_for(asked, 5)
        assert lost == ["lost"]


@pytest.mark.parametrize("sent", [1, 3, 4, 10, 30])
async def test_a_peer_that_dies_within_a_message_is_lost_and_the_message_unheard(
    sent: int,
) -> None:
    async with bare() as (link, other, lost):
        asked = asyncio.create_task(link.ask(1))
        await asyncio.sleep(0)
        other.send(framed((0, 0, "a question that nobody hears"))[:sent])
        other.close()
        with pytest.raises(LinkLost):
            await asyncio.wait_for(asked, 5)
        assert lost == ["lost"]


async def test_an_answer_to_no_question_is_ignored() -> None:
    async with bare() as (link, other, lost):
        other.send(framed((1, 99, "nobody asked")) + framed((2, 98, KeyError("nobody"))))
        asked = asyncio.create_task(link.ask("really"))
        await asyncio.sleep(0)
        other.send(framed((1, 0, "answer")) + framed((1, 0, "answered twice")))
        assert await asyncio.wait_for(asked, 5) == "answer"
        assert not lost


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_leave_nobody_waiting(content: bytes) -> None:
    async def handler(question: Any) -> Any:
        return question

    async def attacked() -> None:
        async with bare(handler) as (link, other, _):
            asked = asyncio.create_task(link.ask(1))
            await asyncio.sleep(0)
            other.send(content)
            other.close()
            outcome = (await asyncio.gather(asked, return_exceptions=True))[0]
            assert isinstance(outcome, LinkLost)

    asyncio.run(asyncio.wait_for(attacked(), 10))
