"""Which message completes which window, held against the daemon's own session."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_client.load.windows import WindowBook, WindowClock, clock_of
from speakerd_client.policies import Policy
from speakerd_client.results import CallSettings, ModelIdentity
from speakerd_server.session_settings import SessionSettings
from speakerd_server.values import AudioFormat, Encoding
from support.driven import Call
from support.signals import RATES_HZ, card, noise, to_bytes

MODEL_HZ = 16_000
CHUNKS = st.sampled_from([720, 4_000, 16_000, 31_999, 32_000]) | st.integers(720, 40_000)
FILTER_S = 0.25
"""More than the daemon's resampler, with its blocks of 100 ms, ever holds back."""


def opened(
    samples_per_chunk: int, interval_s: float = 0.0, most_s: float | None = None
) -> CallSettings:
    return CallSettings(
        request_id="a",
        domain="default",
        model=ModelIdentity("fake", "1", "none"),
        samples_per_chunk=samples_per_chunk,
        model_sample_rate_hz=MODEL_HZ,
        policy=Policy(maximum_speech_s=most_s),
        update_interval_s=interval_s,
        speech_gate=False,
    )


def heard(
    samples: int, rate_hz: int, chunk: int, message: int, interval: int = 0, most: int | None = None
) -> list[tuple[int, int]]:
    """Send messages to a session; gives (message, committed samples) of each update.

    Updates that only the end of the audio brings have the number after the last message.
    """
    wanted = SessionSettings(
        AudioFormat(Encoding.MULAW, rate_hz),
        card(chunk),
        chunk,
        interval,
        maximum_speech_samples=most,
    )
    call, found = Call(wanted), []
    audio = to_bytes(noise(samples), Encoding.MULAW)
    steps = range(0, samples, message)
    for number, start in enumerate([*steps, None]):
        before = len(call.updates)
        if start is None:
            call.take(call.session.end())
        else:
            call.take(call.session.push(audio[start : start + message]))
        found += [(number, update.committed_samples) for update in call.updates[before:]]
    return found


def noted(
    samples: int, rate_hz: int, chunk: int, message: int, interval: int = 0, most: int | None = None
) -> list[tuple[int, int]]:
    """The same by the clock and the book of the client, for whole messages."""
    clock = WindowClock(1 + (chunk - 400) // 160, MODEL_HZ, rate_hz, interval, most)
    book, found = WindowBook(clock, message), []
    for number in range(samples // message):
        while book.next_message == number:
            due = book.sent(float(number))
            found += [(number, clock.committed_samples(window)) for window in due]
    return found


@settings(max_examples=60, deadline=None)
@given(chunk=CHUNKS, messages=st.integers(1, 60), message=st.integers(400, 20_000))
def test_at_the_models_rate_every_window_is_complete_with_the_very_message(
    chunk: int, messages: int, message: int
) -> None:
    samples = min(messages * message, 200_000 // message * message)
    assert noted(samples, MODEL_HZ, chunk, message) == heard(samples, MODEL_HZ, chunk, message)


@settings(max_examples=40, deadline=None)
@given(
    rate_hz=st.sampled_from([rate for rate in RATES_HZ if rate != MODEL_HZ]),
    chunk=CHUNKS,
    ms=st.sampled_from([20, 40, 100, 1000]),
    seconds=st.integers(3, 6),
)
def test_at_other_rates_a_window_comes_no_earlier_and_soon_after(
    rate_hz: int, chunk: int, ms: int, seconds: int
) -> None:
    message = rate_hz * ms // 1000
    samples = rate_hz * seconds // message * message
    ours = noted(samples, rate_hz, chunk, message)
    theirs = heard(samples, rate_hz, chunk, message)
    assert [committed for _, committed in ours] == [committed for _, committed in theirs]
    late = FILTER_S * rate_hz / message + 1
    for (our, _), (their, _) in zip(ours, theirs, strict=True):
        assert our <= their <= our + late


@settings(max_examples=40, deadline=None)
@given(
    chunk=st.integers(720, 9_000),
    message=st.integers(400, 4_000),
    interval=st.integers(0, 40_000),
    most=st.none() | st.integers(1_600, 60_000),
)
def test_the_daemon_sends_the_updates_that_the_book_expects(
    chunk: int, message: int, interval: int, most: int | None
) -> None:
    samples = 80_000 // message * message
    arguments = (samples, MODEL_HZ, chunk, message, interval, most)
    assert noted(*arguments) == heard(*arguments)


@given(chunk=CHUNKS, rate_hz=st.sampled_from(RATES_HZ), window=st.integers(0, 100_000))
def test_an_update_leads_back_to_its_window_and_no_other_number_to_any(
    chunk: int, rate_hz: int, window: int
) -> None:
    clock = clock_of(opened(chunk), rate_hz)
    committed = clock.committed_samples(window)
    assert clock.window_of(committed) == window
    between = clock.committed_samples(window + 1) - 1
    if between > committed:
        assert clock.window_of(between) is None


def test_the_numbers_of_the_seed_runtime() -> None:
    clock = clock_of(opened(32_000), MODEL_HZ)
    assert (clock.frames, clock.hop_s) == (198, 1.98)
    assert [clock.needed_samples(k) for k in range(3)] == [31_920, 63_600, 95_280]
    assert [clock.committed_samples(k) for k in range(3)] == [31_680, 63_360, 95_040]
    assert clock_of(opened(48_000), MODEL_HZ).frames == 298


def test_settings_of_a_call_are_taken_over() -> None:
    clock = clock_of(opened(32_000, 2.5, 6.25), 8_000)
    assert (clock.interval_samples, clock.maximum_samples) == (40_000, 100_000)
    assert clock.wire_rate_hz == 8_000


def test_one_window_over_all_has_no_windows_before_the_end() -> None:
    clock = clock_of(opened(-1), MODEL_HZ)
    book = WindowBook(clock, 1600)
    assert (clock.hop_s, clock.exists(0), clock.window_of(31_680)) == (0.0, False, None)
    assert book.next_message > 10**12
    assert book.answered(31_680) is None


def test_an_answer_is_taken_once_and_only_for_what_was_sent() -> None:
    book = WindowBook(clock_of(opened(32_000), MODEL_HZ), 1600)
    assert book.next_message == 19
    assert book.answered(31_680) is None
    assert book.sent(12.5) == [0]
    assert book.next_message == 39
    assert book.unanswered == (12.5,)
    assert book.answered(31_681) is None
    assert book.answered(31_680) == 12.5
    assert book.answered(31_680) is None
    assert not book.unanswered


def test_a_long_message_completes_several_windows_at_once() -> None:
    book = WindowBook(clock_of(opened(32_000), MODEL_HZ), 160_000)
    assert book.sent(1.0) == [0, 1, 2, 3, 4]
    assert [book.answered(31_680 * window) for window in (1, 5)] == [1.0, 1.0]
    assert len(book.unanswered) == 3
