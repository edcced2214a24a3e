"""A process with a store of its own, to be killed: `python store_process.py ROLE PATH SEED`.

Says on standard output what it is about to do and what was acknowledged.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from typing import NoReturn

from speakerd_server.store.enrolment import EnrolmentStore
from speakerd_server.store.open_store import StoreSettings
from speakerd_server.store.sqlite import SqliteRecord
from support.recordings import DOMAIN, marked_recording

ENROLS_IN_100 = 70


def say(*words: object) -> None:
    """Write one line at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def change_until_killed(store: EnrolmentStore, first_seed: int) -> NoReturn:
    """Enrol and delete speakers named after their seeds, for ever."""
    rng, seed = random.Random(first_seed), first_seed
    known: list[int] = []
    while True:
        if len(known) < 3 or rng.randrange(100) < ENROLS_IN_100:
            seed += 1
            say("enrolling", seed)
            store.enrol(DOMAIN, str(seed), marked_recording(seed))
            say("enrolled", seed)
            known.append(seed)
        else:
            victim = known.pop(rng.randrange(len(known)))
            say("deleting", victim)
            store.delete(DOMAIN, str(victim))
            say("deleted", victim)


def die_between_commit_and_erasure(store: EnrolmentStore) -> None:
    """Delete speaker "1" and be killed when the removal is committed but old bytes are left."""

    def die(self: SqliteRecord) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    SqliteRecord.finish_erasure = die  # type: ignore[method-assign]
    store.delete(DOMAIN, "1")


def hold(store: EnrolmentStore) -> None:
    """Keep the store open until standard input ends."""
    say("open", store.count())
    sys.stdin.read()


if __name__ == "__main__":
    role, where, number = sys.argv[1:]
    opened = EnrolmentStore(StoreSettings(Path(where)), [DOMAIN])
    if role == "change":
        change_until_killed(opened, int(number))
    elif role == "die":
        die_between_commit_and_erasure(opened)
    else:
        hold(opened)
