"""Prose out of raw documents: what is a paragraph or a list item stays, what is markup, code or a table goes.

Why: a summary is made of sentences, and READMEs and reStructuredText are full of lines that are none
(badges, `pip install`, tables, code, link targets, headings). The rules are those of CommonMark and
docutils, read line by line and leniently: this is no parser, and a line in doubt stays.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FENCE: Final = re.compile(r"```|~~~")
_ITEM: Final = re.compile(r"(?:[-*+•‣◦▪\u2013]|\(?(?:\d{1,3}|[A-Za-z]|#)[.)]) {1,8}(?:\[[ xX]\] )?(?=\S)")
_EXPLICIT: Final = re.compile(r"\.\.(?: |$)")
_ADMONITION: Final = re.compile(
    r"\.\. (?:note|warning|tip|hint|important|attention|caution|danger|admonition|seealso|abstract|topic|rubric"
    r"|versionadded|versionchanged|deprecated|epigraph|pull-quote|compound|container|class)::"
)
_RULE: Final = re.compile(r"([=\-~^\"'`*+#<>_:.])\1{2,}$")
_COMMAND: Final = (
    r"(?:sudo |!)?(?:pip3?|pipx|uvx?|conda|mamba|poetry|npm|npx|yarn|pnpm|brew|apt|apt-get|dnf|cargo|gem|docker"
    r"|kubectl|curl|wget|git|cd|make|python3?) +(?:-|install|add|run|clone|get|pip|compose|pull|build|sync"
    r"|update|https?:|tool|create|checkout|push|\.\.?/|\S+\.py\b)"
)
_NOISE: Final = re.compile(
    r"([=\-~^\"'`*+#<>_:.])\1{2,}$"  # rule, underline
    r"|#{1,6}(?: |$)"  # heading
    r"|\|"  # table row, line block
    r"|[^|]* \| [^|]* \| "  # table row without an outer bar
    r"|[+=\-:|][+=\-:| ]{2,}$"  # table border
    r"|\[?!\["  # badge, image
    r"|\[[^\]]{1,80}\]: "  # link target
    r"|(?:[-*+•] )?<?(?:https?|ftp)://\S+$"  # a bare address
    r"|</?[A-Za-z!][^>]*>(?: *</?[A-Za-z!][^>]*>)*$"  # tags and nothing else
    r"|:[A-Za-z][\w -]{0,30}:(?: |$)"  # field of a field list
    r"|[^\w\s]{3,}$"  # ornaments
    r"|(?:[$%>]|>>>|\.\.\.|In \[\d+\]:) "  # what is typed at a prompt
    rf"|{_COMMAND}"
)
_INDENTED_CODE: Final = re.compile(
    r"(?:def|class|import|async|return|raise|assert|elif|yield|print|const|let|var|fn|func|public|static|struct"
    r"|enum|typedef|void|int)\b.*[(:;{=.]|from \S+ import|@\w|\w[\w.\[\]'\"]* ?[-+*/|]?= ?\S"
    r"|(?:if|for|while|with|try|except|else|match|case)\b.*:$|.*[;{}]$|[\w.]+\(.*\)$|# |//|/\*|</?\w"
)
_MAX_MARKUP_CHARS: Final = 400  # a longer line is a paragraph, whatever it begins with


def prose_blocks(text: str) -> Iterator[str]:
    """Paragraphs and list items in document order, each on one line without its bullet."""
    block: list[str] = []
    first_indent, is_item = 0, False
    for line in _prose_lines(_without_fences(text.expandtabs(4).splitlines())):
        bare = line.lstrip()
        indent = len(line) - len(bare)
        item = _ITEM.match(bare)
        ends_term = len(block) == 1 and not is_item and indent > first_indent  # of a definition list
        if block and (not bare or item or ends_term):
            yield " ".join(" ".join(block).split())
            block = []
        if bare and not block:
            first_indent, is_item = indent, item is not None
        if bare:
            block.append(bare[item.end() :] if item else bare)
    if block:
        yield " ".join(" ".join(block).split())


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _without_fences(lines: Sequence[str]) -> list[str]:
    """Blank out fenced code. A fence that is never closed hides only its own line."""
    kept: list[str] = []
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at].lstrip())
        if fence is None:
            kept.append(lines[at])
            at += 1
            continue
        marker = fence.group()
        close = next((i for i in range(at + 1, len(lines)) if lines[i].lstrip().startswith(marker)), at)
        kept.append("")
        at = close + 1
    return kept


def _prose_lines(lines: Sequence[str]) -> Iterator[str]:
    """Lines of prose; an empty one stands where something was left out."""
    hidden_below: int | None = None  # literal or directive body: all that is indented deeper than this
    for at, line in enumerate(lines):
        bare = line.strip()
        if not bare:
            yield ""
            continue
        indent = _indent(line)
        if hidden_below is not None and indent > hidden_below:
            continue
        hidden_below = indent if bare.endswith("::") else None
        if _EXPLICIT.match(bare):
            hidden_below = None if _ADMONITION.match(bare) else indent
            yield ""
        elif _is_title(bare, lines[at + 1] if at + 1 < len(lines) else "") or _is_markup(bare, indent=indent):
            yield ""
        else:
            yield line.rstrip()


def _is_title(bare: str, below: str) -> bool:
    return len(bare) < 120 and len(below) <= _MAX_MARKUP_CHARS and _RULE.match(below.strip()) is not None


def _is_markup(bare: str, *, indent: int) -> bool:
    if len(bare) > _MAX_MARKUP_CHARS:
        return False
    return bool(_NOISE.match(bare) or (indent >= 2 and _INDENTED_CODE.match(bare)))
