"""Docstrings as reStructuredText. They are plain text: formulas in Unicode, `code` in backticks, examples after >>>.

Paragraphs keep their words; what reStructuredText would take for markup (`*`, `|`, `_` at a word's end) is escaped.
Indented blocks are literal, but for the entries beneath a line such as "Args:", which become a list.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

#: lines that head a list: one entry for each indented line, with what is indented further
_HEADING = re.compile(r"(Args|Arguments|Attributes|Errors|Raises|Returns|Shape|Shapes|Source|Sources):$")
_ITEM = re.compile(r"([-*]|\d+\.) ")
_ENTRY = re.compile(r"([\w*]+(?:, [\w*]+)*): +(.*)", re.DOTALL)

Link = Callable[[str], str | None]


def rst(docstring: str | None, link: Link = lambda name: None) -> list[str]:
    """The lines of a docstring as reStructuredText. `link` says which full name a piece of `code` stands for."""
    lines = inspect.cleandoc(docstring or "").split("\n")
    found: list[str] = []
    i = 0
    while i < len(lines):
        end = i + 1
        if not lines[i].strip():
            i = end
            continue
        if lines[i].startswith(">>> "):
            while end < len(lines) and lines[end].strip():
                end += 1
            found += [*lines[i:end], ""]
        elif lines[i][0] == " ":
            end = _indented(lines, i)
            found += ["::", "", *(f"    {line}".rstrip() for line in lines[i:end]), ""]
        elif _HEADING.match(lines[i]):
            end = _indented(lines, end)
            found += [f"**{lines[i][:-1]}**", "", *_entries(lines[i + 1 : end], link), ""]
        elif mark := _ITEM.match(lines[i]):
            while end < len(lines) and lines[end].startswith("  "):
                end += 1
            text = " ".join([lines[i][mark.end() :], *(line.strip() for line in lines[i + 1 : end])])
            found += [f"{'#.' if mark[1][0].isdigit() else '*'} {inline(text, link)}", ""]
        else:
            while end < len(lines) and lines[end].strip() and lines[end][0] != " " and not _starts(lines[end]):
                end += 1
            found += [inline(" ".join(lines[i:end]), link), ""]
        i = end
    return found


def _starts(line: str) -> bool:
    """Whether a line begins something other than a paragraph's next line."""
    return bool(_HEADING.match(line) or line.startswith((">>> ", "* ", "- ")))


def _indented(lines: list[str], start: int) -> int:
    """The end of the indented block that begins at `start`, blank lines within it included."""
    end = start
    for i in range(start, len(lines)):
        if lines[i].strip():
            if lines[i][0] != " ":
                break
            end = i + 1
    return end


def _entries(lines: list[str], link: Link) -> list[str]:
    """A list of an indented block's entries."""
    entries: list[str] = []
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    for line in filter(str.strip, lines):
        if line[margin] == " " and entries:
            entries[-1] += f" {line.strip()}"
        else:
            entries.append(line.strip())
    found = []
    for entry in entries:
        named = _ENTRY.match(entry)
        names = ", ".join(f"``{name}``" for name in named[1].split(", ")) if named else ""
        found.append(f"* {names}: {inline(named[2], link)}" if named else f"* {inline(entry, link)}")
    return found


def inline(text: str, link: Link = lambda name: None) -> str:
    """A paragraph: its `code` as literals or links, the rest escaped."""
    text = re.sub(r"``(.+?)``", r"`\1`", text)
    pieces = text.split("`")
    if len(pieces) % 2 == 0:  # one backtick too many is a character
        pieces[-2:] = [f"{pieces[-2]}\0{pieces[-1]}"]
    found = ""
    for i, piece in enumerate(pieces):
        if i % 2:
            target = link(piece)
            literal = f":py:obj:`{piece} <{target}>`" if target else f"``{piece.strip()}``"
            before = "" if not found or found[-1] in " ([{<-/:'\"" else r"\ "
            after = "" if i + 1 == len(pieces) or re.match(r"$|[\s)\]}>\-/:.,;!?'\"]", pieces[i + 1]) else r"\ "
            found += f"{before}{literal}{after}" if piece.strip() else ""
        else:
            found += escape(piece)
    return found.replace("\0", r"\`")


def escape(text: str) -> str:
    """Plain text, with what would be markup escaped."""
    text = re.sub(r"([\\*|])", r"\\\1", text)
    return re.sub(r"(?<=\w)_(?!\w)", r"\\_", text)
