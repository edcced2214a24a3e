from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_server.errors import SpeakerUnknown
from speakerd_server.processes import link as link_module
from speakerd_server.processes.link import LinkLost
from support.links import bare, end, framed, linked, nothing
from support.shared_ends import until


async def test_both_ends_ask_and_answer_over_one_connection() -> None:
    async def here(question: Any) -> Any:
        return "here", question

    async def there(question: Any) -> Any:
        return "there", question

    async with linked(here, there) as (ours, theirs):
        asked = [ours.ask(1), theirs.ask(2), ours.ask({"three": b"3" * 300_000})]
        assert await asyncio.gather(*asked) == [
            ("there", 1),
            ("here", 2),
            ("there", {"three": b"3" * 300_000}),
        ]


async def test_who_asks_before_it_is_noticed_that_the_other_end_is_gone_is_told_so() -> None:
    async with bare() as (link, other, lost):
        asked = []
        for turn in range(30):
            if turn == 5:
                other.close()
            asked.append(asyncio.create_task(link.ask(turn)))
            await asyncio.sleep(0)
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(one) for one in outcomes} == {LinkLost}
        assert lost == ["lost"]


async def test_a_handler_may_ask_back_before_it_answers() -> None:
    async def here(question: int) -> int:
        return question + 1

    async def there(question: int) -> int:
        return 10 * int(await theirs.ask(question))

    async with linked(here, there) as (ours, theirs):
        assert await ours.ask(4) == 50


async def test_answers_overtake_each_other_but_questions_do_not() -> None:
    gate, heard = asyncio.Event(), []

    async def there(question: str) -> str:
        heard.append(question)
        if question == "slow":
            await gate.wait()
        return question

    async with linked(nothing, there) as (ours, _):
        slow = asyncio.create_task(ours.ask("slow"))
        await asyncio.sleep(0)
        assert await ours.ask("quick") == "quick"
        assert not slow.done()
        gate.set()
        assert await slow == "slow"
    assert heard == ["slow", "quick"]


async def test_a_named_failure_is_raised_with_its_numbers_at_the_other_end() -> None:
    async def there(question: Any) -> None:
        raise SpeakerUnknown("bank", "anna")

    async with linked(nothing, there) as (ours, _):
        with pytest.raises(SpeakerUnknown) as raised:
            await ours.ask(1)
    assert (raised.value.domain, raised.value.speaker_id) == ("bank", "anna")


@pytest.mark.parametrize("failure", [KeyError("gone"), LinkLost("to a third"), OSError(5, "disk")])
async def test_whatever_else_a_handler_raises_is_told_to_who_asked(failure: Exception) -> None:
    async def there(question: Any) -> None:
        raise failure

    async with linked(nothing, there) as (ours, _):
        with pytest.raises(RuntimeError, match=type(failure).__name__):
            await asyncio.wait_for(ours.ask(1), 5)


async def test_an_answer_that_cannot_be_sent_is_told_to_who_asked() -> None:
    async def there(question: Any) -> Any:
        if question == "refuse":
            error = SpeakerUnknown("bank", "anna")
            error.__dict__["handler"] = lambda: None
            raise error
        return lambda: None

    async with linked(nothing, there) as (ours, _):
        for question in ("answer", "refuse"):
            with pytest.raises(RuntimeError, match=r"Pickl|pickle"):
                await asyncio.wait_for(ours.ask(question), 5)


async def test_what_is_too_long_to_be_sent_harms_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def there(question: Any) -> Any:
        return b"x" * question

    monkeypatch.setattr(link_module, "_LONGEST_BYTES", 1000)
    async with linked(nothing, there) as (ours, _):
        with pytest.raises(ValueError, match="too long"):
            await ours.ask(b"x" * 1000)
        with pytest.raises(RuntimeError, match="too long"):
            await ours.ask(1000)
        assert await ours.ask(3) == b"xxx"


async def test_who_waits_is_told_when_the_other_end_is_gone() -> None:
    async with bare() as (link, other, lost):
        asked = [asyncio.create_task(link.ask(number)) for number in range(3)]
        await asyncio.sleep(0)
        other.close()
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(outcome, LinkLost)
        assert lost == ["lost"]
        with pytest.raises(LinkLost):
            await link.ask(4)
    assert lost == ["lost"]


async def test_who_cannot_even_send_is_told_when_the_other_end_is_gone() -> None:
    async with bare() as (link, other, _):
        asked = asyncio.create_task(link.ask(b"x" * (8 << 20)))
        await asyncio.sleep(0.01)
        other.close()
        with pytest.raises(LinkLost):
            await asyncio.wait_for(asked, 5)


async def test_a_question_that_nobody_waits_for_any_more_is_no_harm() -> None:
    gate = asyncio.Event()

    async def there(question: Any) -> Any:
        await gate.wait()
        if question == "bad":
            raise SpeakerUnknown("bank", "anna")
        return question

    async with linked(nothing, there) as (ours, _):
        for question in ("good", "bad"):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ours.ask(question), 0.01)
        gate.set()
        assert await ours.ask("next") == "next"
        assert not ours._asked


async def test_a_question_that_its_asker_died_over_is_not_worked_on_any_further() -> None:
    ended: list[str] = []

    async def there(question: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with bare(there) as (_, other, lost):
        other.send(framed((0, 1, "wait")))
        await asyncio.sleep(0.01)
        other.close()
        await until(lambda: lost and ended)


async def test_a_link_that_is_closed_before_it_began_answers_nobody() -> None:
    one, other = socket.socketpair()
    lost: list[int] = []
    with other:
        link = await end(one, nothing, lambda: lost.append(1))
        await link.close()
        await link.close()
        with pytest.raises(LinkLost):
            await link.ask(1)
        assert other.recv(1) == b""
    assert lost == [1]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=200), st.integers(), st.text(max_size=50)), max_size=8)
)
def test_what_is_asked_is_what_is_heard_in_order(questions: list[Any]) -> None:
    heard: list[Any] = []

    async def there(question: Any) -> Any:
        heard.append(question)
        return question

    async def asked() -> None:
        async with linked(nothing, there) as (ours, _):
            assert await asyncio.gather(*map(ours.ask, questions)) == questions

    asyncio.run(asked())
    assert heard == questions
