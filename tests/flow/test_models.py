"""Models that come and go while the daemon serves: who gets which, and who feels it."""

from __future__ import annotations

import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from grpc import StatusCode
from speakerd.v1 import admin_pb2 as admin
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.bundles import bundle_of_nan, copied, damage, misnamed, small_bundle
from support.operating import (
    HALF,
    SPEECH,
    WINDOWS,
    Stream,
    embed,
    gone,
    listed,
    load,
    own_memory_mib,
    refused,
    serving,
    unload,
    verify,
)
from support.sounds import lowest_cosine
from support.speech import VOICES, noise, pcm16, read

pytestmark = pytest.mark.timeout(120)
SAME = 1 - 1e-6
"""Least cosine of two embeddings of the same audio, whatever was batched beside it."""


def alike(one: pb.EmbedResponse, other: pb.EmbedResponse) -> float:
    return lowest_cosine(*(np.array([each.embedding], np.float32) for each in (one, other)))


def test_a_model_is_loaded_beside_a_live_call_and_each_call_gets_the_one_it_names(
    tmp_path: Path,
) -> None:
    with serving(tmp_path) as (_, stubs):
        before = embed(stubs)
        live = Stream(stubs)
        live.send(SPEECH[:HALF])
        load(stubs, "campplus-int8")
        live.send(SPEECH[HALF:])
        other = embed(stubs, "campplus-int8")
        assert (other.model.name, other.model.version) == ("campplus-int8", "1")
        assert 0.9 < alike(other, before) < SAME
        assert alike(embed(stubs), before) >= SAME
        assert verify(stubs, model="campplus-int8").settings.model.name == "campplus-int8"
        assert live.end().window_count == before.window_count == WINDOWS
        work = {name: one.devices[0] for name, one in listed(stubs).items()}
        assert work["campplus/1"].live_windows == WINDOWS
        assert work["campplus/1"].offline_windows == 2 * WINDOWS
        assert work["campplus-int8/1"].live_windows == 0
        assert work["campplus-int8/1"].offline_windows == 2 * WINDOWS
        for one in work.values():
            assert one.windows_embedded == one.live_windows + one.offline_windows
            assert sum(size.windows * size.batches for size in one.batch_sizes) == (
                one.windows_embedded
            )
            assert one.compute_time.ToNanoseconds() > 0
            assert one.window_cost.ToNanoseconds() > 0


@pytest.mark.parametrize("policy", ["first", "newest"])
def test_a_bare_name_means_the_version_that_the_policy_says(tmp_path: Path, policy: str) -> None:
    copied(tmp_path / "models", "10")
    copied(tmp_path / "models", "9")
    with serving(tmp_path, f"--model-version-policy={policy}") as (_, stubs):
        wire.enroll(stubs, "slt", pcm16(read(VOICES / "slt-enrol.flac")))
        for version in ("9", "10"):
            load(stubs, f"campplus/{version}")
        expected = {"first": "1", "newest": "10"}[policy]
        for name in ("", "campplus"):
            assert verify(stubs, model=name).settings.model.version == expected
            assert Stream(stubs, model=name).opened.model.version == expected
        claim = verify(stubs, model="campplus/1", speaker_id="slt")
        assert claim.settings.model.version == "1"
        assert claim.result.scores[0].score.value > 0.5
        mixed = refused(lambda: verify(stubs, model="campplus/9", speaker_id="slt"))
        assert (mixed.code, mixed.reason) == (StatusCode.FAILED_PRECONDITION, "MODEL_MISMATCH")
        load(stubs, "campplus/9", make_default=True)
        for name in ("", "campplus"):
            assert verify(stubs, model=name).settings.model.version == "9"
        unload(stubs, "campplus/9")
        assert verify(stubs).settings.model.version == expected


def test_a_call_in_flight_finishes_on_the_old_version_as_if_nothing_had_happened(
    tmp_path: Path,
) -> None:
    copied(tmp_path / "models", "2")
    with serving(tmp_path) as (_, stubs):
        wire.enroll(stubs, "slt", pcm16(read(VOICES / "slt-enrol.flac")))
        live = Stream(stubs, speaker_id="slt")
        live.send(SPEECH[:HALF])
        assert live.update().window_count == 1
        load(stubs, "campplus/2", make_default=True)
        leaving = unload(stubs, "campplus/1")
        assert (leaving.status, leaving.open_calls) == (admin.MODEL_STATUS_UNLOADING, 1)
        assert (leaving.is_default, leaving.answers_to_name) == (False, False)
        assert refused(lambda: embed(stubs, "campplus/1")).reason == "MODEL_UNKNOWN"
        assert embed(stubs).model.version == "2"
        live.send(SPEECH[HALF:])
        final = live.end()
        assert gone(stubs, "campplus/1")
        load(stubs, "campplus/1")
        wanted = verify(stubs, model="campplus/1", speaker_id="slt").result
        assert final.window_count == wanted.window_count == WINDOWS
        (score,), (same,) = final.scores, wanted.scores
        assert score.score.value == pytest.approx(same.score.value, abs=1e-5)


def test_unloading_under_many_calls_fails_none_of_them(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, stubs):
        load(stubs, "campplus-int8")
        audio = pb.Audio(format=wire.PCM16, content=SPEECH)
        request = pb.EmbedRequest(audio=audio, model="campplus-int8")
        calls = [stubs.verification.Embed.future(request, timeout=60) for _ in range(40)]
        first = calls[0].result()
        leaving = unload(stubs, "campplus-int8")
        assert leaving.status == admin.MODEL_STATUS_UNLOADING
        assert leaving.open_calls > 0
        assert min(alike(call.result(), first) for call in calls) >= SAME
        assert gone(stubs, "campplus-int8/1")
        assert refused(lambda: embed(stubs, "campplus-int8")).reason == "MODEL_UNKNOWN"
        assert embed(stubs).model.name == "campplus"


def test_the_default_model_stays_until_another_is_the_default(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, stubs):
        for name in ("campplus", "campplus/1"):
            refusal = refused(partial(unload, stubs, name))
            assert (refusal.code, refusal.reason) == (
                StatusCode.FAILED_PRECONDITION,
                "MODEL_IS_DEFAULT",
            )
        load(stubs, "campplus-int8", make_default=True)
        assert unload(stubs, "campplus").status == admin.MODEL_STATUS_UNLOADED
        assert embed(stubs).model.name == "campplus-int8"


def test_models_that_are_refused_disturb_nobody(tmp_path: Path) -> None:
    models = tmp_path / "models"
    bundle_of_nan(models)
    small_bundle(models, "wide", dim=192)
    damage(copied(models, "3"))
    misnamed(models, "4", copied(models, "2"))
    (small_bundle(models, "no-card") / "card.toml").write_text("name = 1")
    stop = threading.Event()
    seen: list[float] = []
    with serving(tmp_path) as (daemon, stubs):
        before = embed(stubs)

        def go_on() -> None:
            while not stop.is_set():
                seen.append(alike(embed(stubs), before))

        neighbour = threading.Thread(target=go_on)
        live = Stream(stubs)
        neighbour.start()
        try:
            for model, words in (
                ("nan", "not finite"),
                ("wide", "not (1, 192)"),
                ("campplus/3", "SHA-256"),
                ("campplus/4", "its card says that it is campplus/2"),
                ("no-card", "card.toml"),
            ):
                refusal = refused(partial(load, stubs, model, make_default=True))
                assert (refusal.code, refusal.reason, refusal.fields) == (
                    StatusCode.FAILED_PRECONDITION,
                    "MODEL_REFUSED",
                    ("model",),
                )
                assert words in refusal.message
            unknown = refused(lambda: load(stubs, "nosuch"))
            assert (unknown.code, unknown.reason) == (StatusCode.NOT_FOUND, "MODEL_UNKNOWN")
            assert "campplus-int8/1" in unknown.message
            live.send(SPEECH)
            assert live.end().window_count == WINDOWS
        finally:
            stop.set()
            neighbour.join()
        assert seen
        assert min(seen) >= SAME
        assert list(listed(stubs)) == ["campplus/1"]
        assert "Traceback" not in daemon.errors()


def test_a_load_whose_client_does_not_wait_is_carried_out_all_the_same(tmp_path: Path) -> None:
    with serving(tmp_path) as (daemon, stubs):
        request = admin.LoadModelRequest(model="campplus-int8")
        refusal = refused(lambda: stubs.admin.LoadModel(request, timeout=0.05))
        assert refusal.code == StatusCode.DEADLINE_EXCEEDED
        assert load(stubs, "campplus-int8").status == admin.MODEL_STATUS_LOADED
        assert "Traceback" not in daemon.errors()


def test_a_daemon_that_ends_while_a_model_leaves_ends_in_order(tmp_path: Path) -> None:
    with serving(tmp_path, "--server-drain-grace-s=0.5") as (daemon, stubs):
        load(stubs, "campplus-int8")
        live = Stream(stubs, model="campplus-int8")
        live.send(pcm16(noise(1.0)))
        unload(stubs, "campplus-int8")
        daemon.terminate()
        assert daemon.process.wait(30) == 0
        assert "Traceback" not in daemon.errors()
        assert refused(live.end).code in (StatusCode.UNAVAILABLE, StatusCode.CANCELLED)


def test_several_models_of_the_settings_are_there_from_the_start(tmp_path: Path) -> None:
    second = copied(tmp_path / "models", "2")
    flags = (f"--model-load=campplus-int8,{second}", "--model-default=campplus")
    with serving(tmp_path, *flags) as (_, stubs):
        models = listed(stubs)
        assert list(models) == ["campplus/1", "campplus/2", "campplus-int8/1"]
        assert [one.is_default for one in models.values()] == [True, False, False]
        assert [one.answers_to_name for one in models.values()] == [True, False, True]
        assert alike(embed(stubs, "campplus/2"), embed(stubs)) >= SAME


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_the_memory_of_an_unloaded_model_is_given_back_however_often_it_comes_and_goes(
    tmp_path: Path,
) -> None:
    copied(tmp_path / "models", "2")
    left, taken = [], []
    with serving(tmp_path) as (daemon, stubs):
        for _ in range(4):
            before_mib = own_memory_mib(daemon.process.pid)
            load(stubs, "campplus/2")
            embed(stubs, "campplus/2")
            taken.append(own_memory_mib(daemon.process.pid) - before_mib)
            unload(stubs, "campplus/2")
            left.append(own_memory_mib(daemon.process.pid))
    assert min(taken) > 20
    assert max(left[1:]) - left[0] < 5
