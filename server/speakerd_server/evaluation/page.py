"""The HTML of a report: one page that holds all it shows, runs nothing and fetches nothing."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"
_CSS = """
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 3rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; text-wrap: balance; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
p { max-width: 44rem; margin: .4rem 0 .8rem; }
.lesser, figcaption { color: var(--muted); font-size: .875rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .9rem .35rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--rule); overflow-wrap: anywhere; }
thead th { font-weight: 600; vertical-align: bottom; overflow-wrap: normal; }
tbody th { font-weight: 400; }
td small, th small { display: block; color: var(--muted); white-space: nowrap; font-size: .78rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; margin: .8rem 0;
  font-size: .875rem; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: .5rem 0 0; }
svg { display: block; width: 100%; height: auto; }
svg text { font-family: inherit !important; }
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  figure, table, dl { break-inside: avoid; }
  h2 { break-after: avoid; }
}
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a table, with what stands small under it."""

    text: str
    """The number."""
    under: str = ""
    """Such as its interval."""


def page(
    title: str,
    parts: Iterable[str],
    light: Mapping[str, str],
    dark: Mapping[str, str],
) -> str:
    """Give the whole page.

    Args:
        title: Plain text.
        parts: HTML, one after the other.
        light: Colours by the name of their CSS variable.
        dark: The same for readers who prefer a dark page; paper always prints light.
    """
    style = (
        f":root {{ color-scheme: light dark; {_variables(light)} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(dark)} }} }}"
    )
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escaped(title)}</title>",
            f"<style>\n{style}{_CSS}</style>",
            "</head>",
            "<body>",
            *parts,
            "</body>",
            "</html>",
            "",
        ]
    )


def escaped(text: str) -> str:
    """Give any text as HTML; what cannot be printed shows as a replacement mark."""
    return html.escape("".join(one if one.isprintable() else _UNPRINTABLE for one in text))


def heading(text: str, *explained: str) -> str:
    """Give a heading and the paragraphs under it."""
    return f"<h2>{escaped(text)}</h2>" + "".join(f"<p>{escaped(one)}</p>" for one in explained)


def definitions(rows: Iterable[tuple[str, str]]) -> str:
    """Give names with their values."""
    inside = "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>" for name, value in rows)
    return f"<dl>{inside}</dl>"


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Give a table; the first cell of a row names it."""
    top = "".join(f'<th scope="col">{escaped(one)}</th>' for one in head)
    body = "".join(f"<tr>{_row(row)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def picture(svg: str, caption: str) -> str:
    """Give a picture, an `<svg>` element, with the sentence under it."""
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escaped(caption)}"', 1)
    return f"<figure>{svg}<figcaption>{escaped(caption)}</figcaption></figure>"


def _row(row: Sequence[Cell]) -> str:
    first, *others = (
        escaped(one.text) + (f"<small>{escaped(one.under)}</small>" if one.under else "")
        for one in row
    )
    return f'<th scope="row">{first}</th>' + "".join(f"<td>{one}</td>" for one in others)


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())
