"""How the pictures of a report look, and how they are written, without matplotlib's global state.

Colours are those of `LIGHT`; in an SVG they become CSS variables of the same names, so that a page
may show them in dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache

import matplotlib
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

LIGHT: Mapping[str, str] = {
    "ink": "#1b1c1f",
    "muted": "#5f646c",
    "rule": "#d8dbe0",
    "paper": "#ffffff",
    "s0": "#1f6fb4",
    "s1": "#c8501e",
    "s2": "#2a8a57",
    "s3": "#8a4fb0",
    "s4": "#9a7800",
    "s5": "#c43a7d",
    "s6": "#0d858c",
    "s7": "#7a5a3a",
}
"""Colours by name: text, lesser text, rules, paper, and eight series."""
DARK: Mapping[str, str] = {
    "ink": "#e9eaec",
    "muted": "#a2a8b1",
    "rule": "#3a3e45",
    "paper": "#17181b",
    "s0": "#6fb3f2",
    "s1": "#ff9a68",
    "s2": "#63cd95",
    "s3": "#c79df0",
    "s4": "#dcbc43",
    "s5": "#ff8bc0",
    "s6": "#4fd0d8",
    "s7": "#c9a686",
}
"""The same for a dark page."""


_SERIES = [name for name in LIGHT if re.fullmatch(r"s\d", name)]
_DASHES = ("solid", "dashed", "dotted", "dashdot")
_PNG_DPI = 144
_SCREEN_PIXELS = 104
"""Of one inch, at most, on a page."""


def as_svg(figure: Figure, name: str) -> str:
    """Write a figure as an `<svg>` element for a page; `name` keeps its ids apart from others'."""
    written = io.StringIO()
    with styled():
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (xmlns(:\w+)?|version)="[^"]*"', "", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    for colour, value in LIGHT.items():
        text = text.replace(value, f"var(--{colour})")
    wide = _SCREEN_PIXELS * figure.get_figwidth()
    sized = rf'\1 style="max-width: {wide:.0f}px"'
    return re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', sized, text, count=1)


def as_png(figure: Figure) -> bytes:
    """Write a figure as a PNG on white."""
    written = io.BytesIO()
    with styled():
        figure.savefig(written, format="png", dpi=_PNG_DPI, metadata={"Software": None})
    return written.getvalue()


@contextmanager
def styled() -> Iterator[None]:
    """Set how everything looks, whatever the user's own matplotlib settings say, for a while."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": "speakerd",
                "font.size": 9.5,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.grid": True,
                "axes.axisbelow": True,
                "grid.linewidth": 0.7,
                "grid.color": LIGHT["rule"],
                "text.color": LIGHT["ink"],
                "axes.labelcolor": LIGHT["ink"],
                "axes.edgecolor": LIGHT["muted"],
                "xtick.color": LIGHT["muted"],
                "ytick.color": LIGHT["muted"],
                "legend.frameon": False,
            }
        )
        yield


def line_of(number: int) -> tuple[str, str]:
    """Give the colour and the dashes of a series."""
    return LIGHT[_SERIES[number % len(_SERIES)]], _DASHES[number // len(_SERIES) % len(_DASHES)]


@cache
def _glyphs() -> frozenset[int]:
    """Characters that the pictures' font has."""
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def drawable(text: str) -> str:
    """Give a text without what the font lacks, and without marks of formulas."""
    known = "".join(one if one.isprintable() and ord(one) in _glyphs() else "?" for one in text)
    return known.replace("$", r"\$")
