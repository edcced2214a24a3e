from __future__ import annotations

import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from speakerd_server.errors import ExtraMissing, OutputUnusable
from speakerd_server.evaluation.calibrate import fit
from speakerd_server.evaluation.evaluated import Evaluated
from speakerd_server.evaluation.measured import Application, measure
from speakerd_server.evaluation.page import Cell, escaped, table
from speakerd_server.evaluation.report import labels, write_report
from speakerd_server.evaluation.report_tables import Shown, formula
from speakerd_server.evaluation.thresholds import suggest
from support.scored import made, wespeaker_scores

FACTS = [("model", "campplus/1"), ("SHA-256 of the model", "0123abcd")]
HOSTILE = '<script>alert("x")<b>&$a$.txt'


class Page(HTMLParser):
    """Reads a page; its elements must be closed as they were opened."""

    void = frozenset({"meta", "br", "!doctype"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)
        if tag not in self.void:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def shown(evaluated: Evaluated, target_far: float | None = None) -> Shown:
    measured = measure(evaluated, [Application(0.01)], draws=50)
    assert measured is not None
    target, sides = evaluated.trials.target, (evaluated.enroll_speaker, evaluated.test_speaker)
    suggestion = target_far and suggest(evaluated.scores, target, *sides, target_far, draws=50)
    return Shown(evaluated, measured, suggestion or None)


def test_a_page_holds_the_numbers_and_stands_alone(tmp_path: Path) -> None:
    given = wespeaker_scores("raw")
    fitted = fit([given], trials="raw.score", draws=50)
    files = write_report(tmp_path / "a" / "out.html", [shown(given, 0.01)], FACTS, fitted=[fitted])
    names = ["out.html", "out_det.png", "out_scores.png", "out_far_frr.png"]
    assert [one.name for one in files] == names
    assert sorted(names) == sorted(one.name for one in (tmp_path / "a").iterdir())
    assert all(one.read_bytes().startswith(b"\x89PNG") for one in files[1:])
    text = files[0].read_text(encoding="utf-8")
    page = Page(text)
    for told in ("campplus/1", "0123abcd", "raw.score", "270 genuine, 1500 impostor", "2.222"):
        assert told in page.text
    for told in ("0.31402", "of 15 pairs of speakers", formula(fitted.calibration), "0.8682"):
        assert told in page.text
    assert page.tags.count("svg") == 3
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    links = [value for name, value in page.attributes if name in ("src", "href", "action")]
    assert all(value is not None and value.startswith("#") for value in links)
    assert "://" not in text
    assert "@import" not in text
    assert "/work" not in text
    assert str(given.trials.path.parent) not in text


def test_every_variable_has_a_value_in_light_and_in_dark(tmp_path: Path) -> None:
    (page, *_) = write_report(tmp_path / "out.html", [shown(made())], FACTS)
    text = page.read_text(encoding="utf-8")
    light, dark = text.split("prefers-color-scheme: dark", 1)
    for name in {one.split(")")[0] for one in text.split("var(--")[1:]}:
        assert f"--{name}: #" in light
        assert f"--{name}: #" in dark
    assert "@media screen and (prefers-color-scheme: dark)" in text
    assert "@media print" in text


def test_ids_are_unique_in_the_page(tmp_path: Path) -> None:
    (path, *_) = write_report(tmp_path / "out.html", [shown(made()), shown(made(seed=1))], FACTS)
    page = Page(path.read_text(encoding="utf-8"))
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_lengths_of_speech_get_a_picture_of_their_own(tmp_path: Path) -> None:
    cut = replace(made(apart=1.0), speech="1 s", left_out=7)
    files = write_report(tmp_path / "out.html", [shown(cut), shown(made())], FACTS)
    assert files[-1].name == "out_durations.png"
    page = Page(files[0].read_text(encoding="utf-8"))
    assert page.tags.count("svg") == 4
    assert "made.txt, 1 s" in page.text
    assert "7 left out as too short" in page.text
    assert "Error against the length of speech" in page.text


def test_a_refused_threshold_says_why(tmp_path: Path) -> None:
    good = shown(made(), 0.05)
    refused = replace(shown(replace(made(), speech="8 s")), refused="too few <pairs>")
    (path, *_) = write_report(tmp_path / "out.html", [good, refused], FACTS)
    assert "made.txt, 8 s: too few <pairs>." in Page(path.read_text(encoding="utf-8")).text


def test_names_that_are_html_stay_names(tmp_path: Path) -> None:
    given = made(list_name=f"{HOSTILE}\udcff")
    facts = [(HOSTILE, f"{HOSTILE}\x00\n")]
    (path, *_) = write_report(tmp_path / "out.html", [shown(given, 0.05)], facts)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert "<script" not in text.lower()
    assert "script" not in page.tags
    # In the facts as name and value, in two tables, and in each of the three pictures.
    assert page.text.count(HOSTILE) == 7


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [shown(made(), 0.05)]
    contents = [
        [one.read_bytes() for one in write_report(tmp_path / folder / "out.html", rows, FACTS)]
        for folder in ("a", "b")
    ]
    assert contents[0] == contents[1]


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputUnusable, match=r"file.out\.html"):
        write_report(tmp_path / "file" / "out.html", [shown(made())], FACTS)
    (tmp_path / "out.html").mkdir()
    with pytest.raises(OutputUnusable, match="Is a directory"):
        write_report(tmp_path / "out.html", [shown(made())], FACTS)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "out.html"]


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in ("drawing", "plots"):
        monkeypatch.delitem(sys.modules, f"speakerd_server.evaluation.{name}", raising=False)
        monkeypatch.delattr(f"speakerd_server.evaluation.{name}", raising=False)
    with pytest.raises(ExtraMissing, match=r"matplotlib.*speakerd-server\[evaluate\]"):
        write_report(tmp_path / "out.html", [shown(made())], FACTS)
    assert not list(tmp_path.iterdir())


def test_lists_of_one_name_are_told_apart() -> None:
    one, other = made(list_name="a/trials.txt"), made(list_name="b/trials.txt")
    assert labels([one, other]) == ["trials.txt (1)", "trials.txt (2)"]
    assert labels([one]) == ["trials.txt"]
    assert labels([one, replace(one, speech="2 s")]) == ["trials.txt, whole", "trials.txt, 2 s"]


def test_text_is_escaped_and_what_cannot_be_printed_is_marked() -> None:
    assert escaped('a<b>&"\x07') == "a&lt;b&gt;&amp;&quot;\N{REPLACEMENT CHARACTER}"
    assert "<b>" not in table(["<b>"], [[Cell("<b>", "<b>"), Cell("<b>")]])


def test_a_calibration_is_written_as_a_sum() -> None:
    llr = fit([made(seconds=True)], trials="made", with_durations=True, draws=5).calibration
    llr = replace(llr, offset=-7.0, slope=25.5, shorter=-3.25, longer=0.5)
    llr = replace(llr, shortest_s=1.0, longest_s=33.333)
    assert formula(llr) == (
        "llr = -7 + 25.5 * cosine - 3.25 * ln(shorter side's s) + 0.5 * ln(longer side's s)"
        ", s within 1 to 33.3"
    )
    assert formula(replace(llr, shorter=0.0, longer=0.0)) == "llr = -7 + 25.5 * cosine"


def test_scores_of_two_trials_make_a_page(tmp_path: Path) -> None:
    given = made(3, 2)
    rows = [int(np.argmax(given.trials.target)), int(np.argmin(given.trials.target))]
    kept = np.isin(np.arange(len(given.scores)), rows)
    few = replace(
        given,
        trials=given.trials.only(kept),
        scores=given.scores[kept],
        enroll_speaker=("p0", "p0"),
        test_speaker=("p0", "p1"),
    )
    assert len(write_report(tmp_path / "out.html", [shown(few)], FACTS)) == 4
