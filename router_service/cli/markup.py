"""Plain text out of Markdown, reStructuredText and HTML: blocks parted by a blank line, code and navigation left out.

reStructuredText is parsed with file insertion and raw nodes disabled: a document may not read other files. A file
that docutils gives up on is passed on as it is, and logged.
"""

from __future__ import annotations

import io
from enum import StrEnum
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Final, assert_never

import structlog
from docutils import nodes
from docutils.core import publish_doctree
from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from markdown_it.token import Token

_log = structlog.get_logger(__name__)


class Markup(StrEnum):
    """How a document is written; its suffix or content type says so."""

    PLAIN = "plain"  # passed on as it is
    MARKDOWN = "markdown"  # CommonMark with tables
    RST = "rst"  # reStructuredText
    HTML = "html"  # a page or a fragment


def plain_text(text: str, *, markup: Markup) -> tuple[str, str]:
    """(text, title); the title is the first heading, or empty."""
    text = text.replace("\r\n", "\n")
    match markup:
        case Markup.PLAIN:
            return text, ""
        case Markup.MARKDOWN:
            return _from_markdown(text)
        case Markup.RST:
            return _from_rst(text)
        case Markup.HTML:
            return _from_html(text)
    assert_never(markup)


def _paragraphs(blocks: Iterable[str]) -> str:
    return "\n\n".join(flat for block in blocks if (flat := " ".join(block.split())))


def _from_markdown(text: str) -> tuple[str, str]:
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    blocks: list[str] = []
    title = ""
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "html_block":
            blocks.append(_from_html(token.content)[0])
        if token.type != "inline" or (before is not None and before.type in {"td_open", "th_open"}):
            continue
        content = "".join(_inline(token.children or ()))
        if before is not None and before.type == "heading_open":
            title = title or " ".join(content.split())
        else:
            blocks.append(content)
    return _paragraphs(part for block in blocks for part in block.split("\n\n")), title


def _inline(children: Sequence[Token]) -> Iterator[str]:
    for child in children:
        if child.type in {"text", "code_inline"}:
            yield child.content
        elif child.type in {"softbreak", "hardbreak"}:
            yield "\n"


_RST_SETTINGS: Final = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "report_level": 5,
    "halt_level": 5,
    "input_encoding": "unicode",
    "_disable_config": True,
    "smart_quotes": False,
    "syntax_highlight": "none",
}
_RST_LEFT_OUT: Final = (
    nodes.literal_block,
    nodes.doctest_block,
    nodes.comment,
    nodes.table,
    nodes.system_message,
    nodes.docinfo,
    nodes.footnote,
    nodes.citation,
    nodes.target,
    nodes.substitution_definition,
    nodes.raw,
    nodes.image,
    nodes.math_block,
)


def _from_rst(text: str) -> tuple[str, str]:
    settings = {**_RST_SETTINGS, "warning_stream": io.StringIO()}
    try:
        tree = publish_doctree(text, settings_overrides=settings)
    except Exception as error:  # noqa: BLE001 - docutils raises whatever its directives do
        _log.warning("rst_unreadable", error=str(error), note="the raw text is used")
        return text, ""
    title = next((node.astext() for node in tree.findall(nodes.title)), "")
    return _paragraphs(_rst_blocks(tree)), " ".join(title.split())


def _rst_blocks(node: nodes.Node) -> Iterator[str]:
    """The text of each paragraph-like node; a role or directive that docutils does not know keeps its words."""
    if isinstance(node, _RST_LEFT_OUT):
        return
    if isinstance(node, nodes.TextElement):
        if not isinstance(node, nodes.title | nodes.subtitle | nodes.rubric | nodes.term):
            yield "".join(_rst_inline(node))
        return
    for child in node.children:
        yield from _rst_blocks(child)


def _rst_inline(node: nodes.Node) -> Iterator[str]:
    if isinstance(node, nodes.Text):
        yield node.astext()
    elif isinstance(node, nodes.problematic):
        yield _role_words(node.astext())
    elif not isinstance(node, _RST_LEFT_OUT):
        for child in node.children:
            yield from _rst_inline(child)


def _role_words(source: str) -> str:
    """The words of a role unknown to docutils: "PEP 8" of ":pep:`8`"; other sources stay as they are."""
    role, tick, rest = source.partition(":`")
    if not tick or not role.startswith(":"):
        return source
    words = rest.rstrip("`").split("<", 1)[0].strip().lstrip("~!")
    return f"{role[1:].upper()} {words}" if words.isdigit() else words


_LEFT_OUT_TAGS: Final = "script style nav template noscript svg pre table head footer button select iframe"
_INLINE_TAGS: Final = (
    "a abbr b bdi bdo cite code data del dfn em font i img ins kbd label mark q s samp small span strong sub sup "
    "time tt u var wbr"
)
_HTML_LEFT_OUT: Final = frozenset(_LEFT_OUT_TAGS.split())
_HTML_INLINE: Final = frozenset(_INLINE_TAGS.split())


class _HtmlText(HTMLParser):
    """Collects the text of each block; what stands in a left-out element is dropped to its end tag."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[str] = [""]
        self.title = ""
        self._inside: list[str] = []
        self._heading = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag in _HTML_LEFT_OUT:
            self._inside.append(tag)
        elif tag == "body":
            self._inside.clear()
        if tag in {"title", "h1", "h2", "h3", "h4", "h5", "h6"}:
            self._heading = tag
        if tag not in _HTML_INLINE:
            self.blocks.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._inside:
            del self._inside[self._inside.index(tag) :]
        if tag == self._heading:
            self._heading = ""
        if tag not in _HTML_INLINE:
            self.blocks.append("")

    def handle_data(self, data: str) -> None:
        if self._heading in {"title", "h1"} and len(self.title) < 300:
            self.title += data
        if not self._inside and not self._heading:
            self.blocks[-1] += data


def _from_html(text: str) -> tuple[str, str]:
    parser = _HtmlText()
    parser.feed(text)
    parser.close()
    return _paragraphs(parser.blocks), " ".join(parser.title.split())
