"""speakerd shown in a dozen seconds: a real daemon, three enrolled voices, five questions.

Run by `make demo`. Exits with 0 only when every answer is right.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# gRPC writes a line of its own when a connection ends, and reads this when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from rich.console import Console
from rich.table import Table
from speakerd_client import (
    Client,
    Decision,
    Everyone,
    SpeakerdError,
    Verification,
    read_audio,
)
from speakerd_client import pace as paced
from speakerd_client.cli.live import LiveView

VOICES = Path(__file__).resolve().parent / "voices"
ENROLLED = ("awb", "rms", "slt")
WINDOW_SAMPLES = 16000
"""Windows of a second, so that the score is seen to move; the model's default is two."""
SPEED = 3.0
"""Times faster than a call, to keep the demo short."""
START_S = 60.0


class DemoError(Exception):
    """The demo cannot go on; str() says why."""


@dataclass(frozen=True)
class Scene:
    """One call: who speaks, who they claim to be, and what the daemon should answer."""

    title: str
    voice: str
    claim: str
    expected: Decision


@dataclass(frozen=True)
class Outcome:
    """One line of the table at the end."""

    claim: str
    voice: str
    expected: str
    got: str
    score: float | None
    after_s: float | None

    @property
    def right(self) -> bool:
        """True when the daemon answered as it should."""
        return self.got == self.expected


SCENES = (
    Scene("a genuine call", "slt", "slt", Decision.ACCEPT),
    Scene("an impostor, himself enrolled", "awb", "slt", Decision.REJECT),
    Scene("a stranger", "kal16", "awb", Decision.REJECT),
    Scene("a claim that nobody enrolled", "rms", "ksp", Decision.SPEAKER_NOT_ENROLLED),
)


@contextmanager
def running_daemon(console: Console) -> Iterator[str]:
    """Run `speakerd serve` on free ports with a store that is thrown away; give its address."""
    with tempfile.TemporaryDirectory(prefix="speakerd-demo-") as folder:
        log = Path(folder) / "daemon.log"
        command = [sys.executable, "-m", "speakerd_server", "serve"]
        command += ["--server-address=127.0.0.1:0", "--server-metrics-address=127.0.0.1:0"]
        command += ["--kserve-http-address=", f"--store-path={folder}/speakerd.db"]
        started_s = time.monotonic()
        with log.open("wb") as errors:
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=folder,
                env=_without_settings(os.environ),
            )
        try:
            address = _address_of(process, log)
            console.print(
                f"daemon up on {address} after {time.monotonic() - started_s:.1f} s",
                highlight=False,
            )
            yield address
        finally:
            process.terminate()
            process.wait(START_S)


def _without_settings(variables: Mapping[str, str]) -> dict[str, str]:
    """Leave out what a shell has set for another daemon: the demo is the same everywhere."""
    return {key: value for key, value in variables.items() if not key.startswith("SPEAKERD_")}


def _address_of(process: subprocess.Popen[str], log: Path) -> str:
    line = process.stdout.readline() if process.stdout else ""
    found = re.search(r"serves on ([^\s,]+)", line)
    if found is None:
        process.wait(START_S)
        raise DemoError(f"the daemon did not start:\n{log.read_text().strip()}")
    return found[1]


def enrol(client: Client, console: Console) -> None:
    """Enrol three voices, one recording each."""
    for voice in ENROLLED:
        stored = client.enroll(voice, read_audio(VOICES / f"{voice}-enrol.flac"))
        console.print(
            f"enrolled {voice}: {stored.speaker.net_speech_s:.1f} s of speech", highlight=False
        )


def play(client: Client, scene: Scene, console: Console) -> Outcome:
    """Stream one call and show score and decision as they move."""
    console.print(f"\n[bold]{scene.title}[/]: {scene.voice} speaks and claims to be {scene.claim}")
    audio = read_audio(VOICES / f"{scene.voice}-call.flac")
    updates: list[Verification] = []
    stream = client.verify_stream(
        scene.claim,
        paced(audio.pieces(), audio.format, SPEED),
        audio.format,
        samples_per_chunk=WINDOW_SAMPLES,
    )
    if console.is_terminal:
        with LiveView(f"{scene.claim} (spoken by {scene.voice})", console) as view:
            for update in stream:
                updates.append(update)
                view.show(update)
        _say(console, updates[-1])
    else:
        for update in stream:
            updates.append(update)
            _say(console, update)
    return _outcome(scene, updates)


def _say(console: Console, update: Verification) -> None:
    score = update.scores[0].score if update.scores else None
    text = "  no score" if score is None else f"{score:10.3f}"
    end = "  final" if update.is_final else ""
    console.print(
        f"{update.net_speech_s:6.2f} s {text}  {update.decision.name}{end}", highlight=False
    )


def _outcome(scene: Scene, updates: list[Verification]) -> Outcome:
    """Find when the daemon first gave the answer that it kept."""
    final = updates[-1]
    after_s = final.net_speech_s
    for update in reversed(updates):
        if update.decision is not final.decision:
            break
        after_s = update.net_speech_s
    score = final.scores[0].score if final.scores else None
    return Outcome(
        scene.claim, scene.voice, scene.expected.name, final.decision.name, score, after_s
    )


def identify(client: Client, voice: str, console: Console) -> Outcome:
    """Ask who of all speakers a whole recording is."""
    console.print(f"\n[bold]an identification[/]: whose voice is {voice}-call.flac?")
    result = client.verify(Everyone(top_k=3), read_audio(VOICES / f"{voice}-call.flac"))
    for each in result.scores:
        console.print(
            f"  {each.speaker_id}  {each.score:.3f}  {each.decision.name}", highlight=False
        )
    best = result.scores[0]
    got = best.speaker_id if result.accepted else result.decision.name
    return Outcome("anyone", voice, voice, got, best.score, result.net_speech_s)


def table_of(outcomes: list[Outcome]) -> Table:
    """Draw what was asked, what should be answered, and what was."""
    table = Table(title="five questions", title_justify="left")
    for name in ("claim", "voice", "expected", "got", "score", "after speech", ""):
        table.add_column(name, no_wrap=True)
    for each in outcomes:
        table.add_row(
            each.claim,
            each.voice,
            each.expected,
            each.got,
            "-" if each.score is None else f"{each.score:.3f}",
            "-" if each.after_s is None else f"{each.after_s:.1f} s",
            "[green]right[/]" if each.right else "[bold red]WRONG[/]",
        )
    return table


def own_voice_commands() -> list[str]:
    """Give three commands that work as printed on this machine, from the root of the repository."""
    control = ".venv/bin/speakerctl"
    record, stream = _recorder()
    if not record:
        folder = "deploy/demo/voices"
        return [
            ".venv/bin/speakerd serve",
            f"{control} enroll me {folder}/slt-enrol.flac      # or your own file",
            f"{control} verify me {folder}/slt-call.flac --realtime",
        ]
    return [
        ".venv/bin/speakerd serve",
        f"{record} && {control} enroll me me.wav      # speak for 10 s",
        f"{stream} | {control} verify me -      # speak for 10 s",
    ]


def _recorder() -> tuple[str, str]:
    """Find a microphone recorder: the command for a file, and the one for a pipe."""
    if shutil.which("arecord"):
        shape = "arecord -q -f S16_LE -r 16000 -c 1 -d 10"
        return f"{shape} me.wav", f"{shape} -t raw"
    if shutil.which("rec"):
        shape = "rec -q -b 16 -e signed -r 16000 -c 1"
        return f"{shape} me.wav trim 0 10", f"{shape} -t raw - trim 0 10"
    return "", ""


def main() -> int:
    """Play the demo and give its exit code."""
    console = Console() if sys.stdout.isatty() else Console(width=100)
    try:
        with running_daemon(console) as address, Client(address) as client:
            enrol(client, console)
            outcomes = [play(client, scene, console) for scene in SCENES]
            outcomes.append(identify(client, "rms", console))
    except (DemoError, SpeakerdError) as error:
        console.print(f"the demo failed: {error}", markup=False)
        return 1
    console.print()
    console.print(table_of(outcomes))
    if not all(each.right for each in outcomes):
        console.print("[bold red]not every answer is right[/]")
        return 1
    console.print("\nTry your own voice: the first command in one terminal, the others in another.")
    for command in own_voice_commands():
        console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
