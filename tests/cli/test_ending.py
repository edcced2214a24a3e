from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from speakerd_server.cli.ending import ends_plainly
from speakerd_server.errors import OptionInvalid

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_an_answer_that_finds_no_place_is_no_answer() -> None:
    with FULL.open("w") as full:
        command = [sys.executable, "-m", "speakerd_server", "model", "list"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == "speakerd: the answer cannot be written: No space left on device\n"


def test_a_terminal_obeys_nothing_that_a_file_put_into_a_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    @ends_plainly
    def refusing() -> int:
        raise OptionInvalid("--name", "a\x1b[2Jb\nc\udcffd")

    with pytest.raises(SystemExit):
        refusing()
    assert capsys.readouterr().err == ("speakerd: --name: a\\x1b[2Jb c\\udcffd [OPTION_INVALID]\n")


def test_a_defect_never_ends_with_the_code_of_an_answer() -> None:
    @ends_plainly
    def failing() -> int:
        raise ZeroDivisionError

    with pytest.raises(SystemExit) as ended:
        failing()
    assert ended.value.code == 2


def test_a_closed_pipe_ends_with_the_code_of_no_answer() -> None:
    script = (
        "import sys, time\n"
        "from speakerd_server.cli.ending import ends_plainly\n"
        "@ends_plainly\n"
        "def telling():\n"
        "    time.sleep(0.5)\n"
        "    for _ in range(1000):\n"
        "        sys.stdout.write('x' * 1000)\n"
        "    sys.stdout.flush()\n"
        "telling()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaint = process.stderr.read()
    assert process.returncode == 2
    assert complaint == ""


def test_ctrl_c_while_it_starts_is_one_line_and_130() -> None:
    script = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'speakerd_server.cli.app': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from speakerd_server.__main__ import main\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (130, "speakerd: interrupted\n")


def test_without_any_onnx_runtime_one_is_told_which_extras_bring_one() -> None:
    program = "import sys; sys.modules['onnxruntime'] = None; import runpy; runpy.run_module("
    program += "'speakerd_server', run_name='__main__')"
    ended = subprocess.run([sys.executable, "-c", program, "--version"], capture_output=True)
    assert ended.returncode == 2
    assert ended.stderr.decode() == (
        "speakerd: ONNX Runtime is not installed; choose one: pip install 'speakerd-server[cpu]',"
        " or 'speakerd-server[gpu]' for NVIDIA GPUs [EXTRA_MISSING]\n"
    )
