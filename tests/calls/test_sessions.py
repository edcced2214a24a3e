from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.calls.sessions import LiveSession, SessionEntry, Sessions
from speakerd_server.values import Decision


def opening(sessions: Sessions, request_id: str = "a") -> AbstractContextManager[SessionEntry]:
    return sessions.opened(
        request_id=request_id,
        rpc="StreamVerify",
        domain="default",
        model="campplus/1",
        speaker_ids=("alice", "bob"),
    )


def test_a_call_is_listed_as_its_config_says_until_it_ends() -> None:
    sessions, begun_s = Sessions(process=3), time.time()
    with opening(sessions) as entry:
        (live,) = sessions.now()
        assert live == entry.session
        assert begun_s <= live.started_unix_s <= time.time()
        wanted = LiveSession(
            request_id="a",
            rpc="StreamVerify",
            domain="default",
            model="campplus/1",
            speaker_ids=("alice", "bob"),
            whole_domain=False,
            group="",
            process=3,
            started_unix_s=live.started_unix_s,
        )
        assert live == wanted
        assert len(sessions) == 1
    assert sessions.now() == []
    assert len(sessions) == 0


def test_a_call_tells_its_last_update_alone() -> None:
    sessions = Sessions()
    with opening(sessions) as entry:
        entry.heard(2.0, 1.98, 1, Decision.UNDECIDED)
        before = sessions.now()
        entry.heard(4.5, 3.96, 2, Decision.ACCEPT)
        (live,) = sessions.now()
        assert (live.audio_received_s, live.net_speech_s, live.window_count) == (4.5, 3.96, 2)
        assert live.decision is Decision.ACCEPT
        assert before[0].decision is Decision.UNDECIDED


def test_an_enrolment_has_no_decision() -> None:
    sessions = Sessions()
    with opening(sessions) as entry:
        entry.heard(2.0, 1.98, 1)
        assert sessions.now()[0].decision is None


def test_a_call_that_fails_is_gone_from_the_list() -> None:
    sessions = Sessions()
    with pytest.raises(ValueError, match="broken"), opening(sessions):
        raise ValueError("broken")
    assert sessions.now() == []


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10)), max_size=30))
def test_calls_that_go_on_are_told_oldest_first_in_whatever_order_others_end(
    steps: list[tuple[bool, int]],
) -> None:
    sessions, opened = Sessions(), list[tuple[str, ExitStack]]()
    for number, (opens, which) in enumerate(steps):
        if opens or not opened:
            stack = ExitStack()
            # Two calls may have one id: it is the client's.
            name = str(number // 2)
            stack.enter_context(opening(sessions, name))
            opened.append((name, stack))
        else:
            opened.pop(which % len(opened))[1].close()
        assert [live.request_id for live in sessions.now()] == [name for name, _ in opened]
        assert len(sessions) == len(opened)
