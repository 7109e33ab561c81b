"""If these fail, parts of a file cannot be found, stand under the wrong heading, or are read anew each time although
nothing has changed; or a file that is no text fills the memory with noise.
"""

from __future__ import annotations

import codecs
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core.errors import InvalidInput, InvalidText, ReadingFailed
from memos_core.reading.documents import load_document, read_document
from memos_core.types.inputs import Document, DocumentFormat, Draft

NOW = datetime(2023, 6, 14, 13, 0, tzinfo=UTC)

MARKDOWN = """---
title: Handbook
author: [Ann, Bob]
date: 2023-05-08
draft: no
tags: [a, "b c"]
---

# Guide

Intro *text* with a [link][ref].

## Installing `memos`

1. Do this
   and more
2. Do that
   - nested one
   - nested two

```python
# no heading
print("x")
```

| a | b |
|---|---|
| 1 | 2 |

---

> quoted
> words

[ref]: http://example.com

Using it
--------

Last words.
"""

HTML = """<!doctype html>
<html><head><title>My &amp; Page</title><meta name="author" content="Bob">
<meta property="article:published_time" content="2023-05-08T10:00:00Z"><style>x { color: red }</style></head>
<body><nav>Menu</nav><h1>Welcome</h1><p>Hello <b>bold</b>
world.<br>Next&nbsp;line</p><div hidden>secret</div><div style="display: none">secret</div>
<ul><li>one</li><li>two<ul><li>deep</li></ul></li></ul><ol><li><p>first</p></li><li>second</li></ol>
<table><caption>Prices</caption><tr><th>Fruit</th><th>Price</th></tr><tr><td>Plum</td><td>2<br>euros</td></tr></table>
<pre>def f():
    return 1</pre><h2>More</h2>loose words <img src="x" alt="A cat"> after<script>alert("secret")</script>
<!-- secret --><template>secret</template><p>End.</p>tail</body></html>"""


def read(text: str, kind: DocumentFormat = "text", max_tokens: int = 200, **fields: Any) -> list[Draft]:
    document = Document(text=text, uri="docs/a", format=kind, **fields)
    return read_document(document, now=NOW, max_tokens=max_tokens)


def spans(drafts: list[Draft]) -> list[tuple[int, int] | None]:
    return [draft.source.span if draft.source else None for draft in drafts]


# -- drafts -------------------------------------------------------------------------------------------------------


def test_what_a_draft_says_about_its_place() -> None:
    at = datetime(2023, 5, 8, tzinfo=UTC)
    text = "Guide\n=====\n\nOne.\n\nUse\n---\n\nTwo."
    drafts = read(text, max_tokens=5, author="Ann", at=at, metadata={"x": 1})
    assert [draft.text for draft in drafts] == ["Guide\n=====\n\nOne.", "Use\n---\n\nTwo."]
    assert [draft.context for draft in drafts] == ["Guide", "Guide > Use"]
    assert [draft.metadata for draft in drafts] == [
        {"x": 1, "heading": ["Guide"]},
        {"x": 1, "heading": ["Guide", "Use"]},
    ]
    for position, draft in enumerate(drafts):
        assert (draft.type, draft.conversation, draft.occurred_at) == ("document", "docs/a", at)
        source = draft.source
        assert source is not None
        assert (source.uri, source.speaker, source.position, source.at) == ("docs/a", "Ann", position, at)
        assert source.role is None
        assert source.span is not None
        assert text[slice(*source.span)] == draft.text


def test_a_heading_of_the_callers_own_is_kept() -> None:
    (draft,) = read("A\n===\n\nOne.", metadata={"heading": "mine"})
    assert draft.metadata == {"heading": "mine"}


def test_the_title_stands_above_the_headings() -> None:
    assert [draft.context for draft in read("# One\n\na\n\n# Two\n\nb", "markdown", title="Book")] == [
        "Book > One",
        "Book > Two",
    ]
    (draft,) = read("# The Book\n\na", "markdown", title="The book")
    assert draft.context == "The Book"


def test_what_has_not_changed_keeps_its_identity() -> None:
    text = "One.\n\nTwo.\n\nOne.\n\nThree."
    before = [draft.identity for draft in read(text, max_tokens=2)]
    after = [draft.identity for draft in read("New.\n\n" + text.replace("Three", "Four"), max_tokens=2)]
    assert len(set(before)) == 4
    assert after[1:4] == before[:3]
    assert after[4] != before[3]
    other = read_document(Document(text=text, uri="docs/b"), now=NOW, max_tokens=2)
    assert set(before).isdisjoint(draft.identity for draft in other)


@pytest.mark.parametrize("text", ["", " \n\n ", "<p> </p>"])
def test_a_document_with_nothing_to_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidText, match=r"docs/a.*nothing to read"):
        read(text, "html")


def test_text_that_cannot_be_stored_is_refused() -> None:
    with pytest.raises(InvalidText, match="NUL"):
        read("a\x00b")
    with pytest.raises(InvalidInput, match="max_tokens"):
        read("a", max_tokens=0)


# -- Markdown -----------------------------------------------------------------------------------------------------


def test_markdown_by_its_structure() -> None:
    drafts = read(MARKDOWN, "markdown", max_tokens=24)
    assert [(draft.context, draft.text.splitlines()[0]) for draft in drafts] == [
        ("Handbook > Guide", "# Guide"),
        ("Handbook > Guide > Installing memos", "## Installing `memos`"),
        ("Handbook > Guide > Installing memos", "```python"),
        ("Handbook > Guide > Installing memos", "> quoted"),
        ("Handbook > Guide > Using it", "Using it"),
    ]
    for draft, span in zip(drafts, spans(drafts), strict=True):
        assert span is not None
        assert MARKDOWN[slice(*span)] == draft.text
    assert drafts[0].occurred_at == datetime(2023, 5, 8, tzinfo=UTC)
    assert drafts[0].source is not None
    assert drafts[0].source.speaker == "Ann, Bob"
    assert drafts[0].metadata["tags"] == ["a", "b c"]
    assert drafts[0].metadata["draft"] == "no"


def test_a_text_between_two_rules_is_no_front_matter() -> None:
    (draft,) = read("---\nJust some words here.\n---\n\nmore", "markdown")
    assert "Just some words here." in draft.text


def test_windows_line_ends_do_not_move_spans() -> None:
    text = MARKDOWN.replace("\n", "\r\n")
    for draft in read(text, "markdown", max_tokens=24):
        assert draft.source is not None
        assert draft.source.span is not None
        assert text[slice(*draft.source.span)] == draft.text


MARKS = st.text(st.sampled_from("ab #-*`>|\n\t1.[]()_~=<:!\r\u2028\x0c"), max_size=200)


@given(MARKS, st.integers(1, 30))
def test_no_word_of_markdown_is_lost(text: str, max_tokens: int) -> None:
    try:
        drafts = read(f"Start\n\n{text}", "markdown", max_tokens=max_tokens)
    except InvalidText:
        return
    end = 0
    for span in spans(drafts):
        assert span is not None
        assert end <= span[0] < span[1]
        end = span[1]
    # Rules (a line of marks between blocks) are the only thing that may be left out.
    words = re.findall(r"[ab1]", text)
    assert re.findall(r"[ab1]", "".join(draft.text for draft in drafts).removeprefix("Start")) == words


# -- HTML ---------------------------------------------------------------------------------------------------------


def test_html_as_a_reader_sees_it() -> None:
    (draft,) = read(HTML, "html")
    assert draft.text == (
        "Welcome\n\nHello bold world.\nNext line\n\n- one\n- two\n- deep\n1. first\n2. second\n\n"
        "Prices\nFruit | Price\nPlum | 2 euros\n\ndef f():\n    return 1\n\nMore\n\n"
        "loose words [image: A cat] after\n\nEnd.\n\ntail"
    )
    assert draft.context == "My & Page > Welcome"
    assert draft.occurred_at == datetime(2023, 5, 8, 10, tzinfo=UTC)
    assert draft.source is not None
    assert draft.source.speaker == "Bob"


def test_spans_of_html_begin_at_the_tag_of_the_first_block() -> None:
    drafts = read(HTML, "html", max_tokens=14)
    assert len(drafts) > 3
    for draft, span in zip(drafts, spans(drafts), strict=True):
        assert span is not None
        source = HTML[slice(*span)]
        assert source.startswith("<")
        assert draft.text.split()[-1].strip("]") in source


def test_html_without_tags_and_broken_html() -> None:
    assert [draft.text for draft in read("a &amp; b", "html")] == ["a & b"]
    assert [draft.text for draft in read("<p>one<p>two</div> <b>three", "html")] == ["one\n\ntwo three"]
    assert [draft.text for draft in read("<table>loose<td>x</td>", "html")] == ["loose | x"]
    xhtml = '<?xml version="1.0" encoding="utf-8"?><html xmlns="x"><body><p>Hi</p></body></html>'
    (draft,) = read(xhtml, "html")
    assert (draft.text, spans([draft])) == ("Hi", [(xhtml.index("<p>"), len(xhtml))])


class _Words(HTMLParser):
    """All words of a page without scripts, by the standard library alone."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words.extend(data.split())


TAGS = ("p", "div", "b", "h1", "h3", "ul", "li", "ol", "table", "tr", "td", "pre", "span", "blockquote", "a")
PAGE = st.lists(
    st.one_of(
        st.sampled_from([f"<{tag}>" for tag in TAGS] + [f"</{tag}>" for tag in TAGS]),
        st.text("abc", min_size=1, max_size=3).map(lambda word: f" {word} "),
    ),
    max_size=40,
).map("".join)


@given(PAGE)
def test_no_word_of_html_is_lost_or_comes_twice(page: str) -> None:
    parser = _Words()
    parser.feed(page)
    parser.close()
    try:
        drafts = read(page, "html")
    except InvalidText:
        assert parser.words == []
        return
    read_words = re.findall("[abc]+", " ".join(draft.text for draft in drafts))
    assert read_words == parser.words


# -- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.md", "markdown"),
        ("a.MARKDOWN", "markdown"),
        ("a.html", "html"),
        ("a.htm", "html"),
        ("a.txt", "text"),
        ("a.rst", "text"),
        ("a.py", "text"),
        ("a", "text"),
    ],
)
def test_the_ending_says_the_format(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_text("words", encoding="utf-8")
    document = load_document(tmp_path / name)
    assert (document.format, document.text, document.uri) == (kind, "words", (tmp_path / name).as_posix())
    assert load_document(str(tmp_path / name), uri="mine").uri == "mine"


WORDS = "Grüße — naïve, 10 €"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (WORDS.encode(), "a.txt"),
        (codecs.BOM_UTF8 + WORDS.encode(), "a.txt"),
        (WORDS.encode("utf-16"), "a.txt"),
        (codecs.BOM_UTF16_BE + WORDS.encode("utf-16-be"), "a.txt"),
        (WORDS.encode("utf-32"), "a.txt"),
        (WORDS.encode("cp1252"), "a.txt"),
    ],
)
def test_encodings(tmp_path: Path, data: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert load_document(tmp_path / name).text == WORDS


def test_html_names_its_encoding(tmp_path: Path) -> None:
    page = '<html><head><meta charset="koi8-r"></head><p>Привет</p></html>'
    (tmp_path / "a.html").write_bytes(page.encode("koi8-r"))
    assert load_document(tmp_path / "a.html").text == page
    (tmp_path / "b.html").write_bytes(page.replace("koi8-r", "nonsense").encode("cp1251"))
    assert load_document(tmp_path / "b.html").text.startswith("<html>")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"%PDF-1.7 ...", "a PDF"),
        (b"PK\x03\x04....", "ZIP"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"words\x00\x01\x02", "NUL byte at 5"),
        ("words without a mark".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (codecs.BOM_UTF8 + b"\xff\xff", "damaged at byte"),
    ],
)
def test_what_is_no_text_is_said_to_be_what_it_looks_like(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(ReadingFailed, match=re.escape(said)) as raised:
        load_document(path)
    assert "a.txt" in str(raised.value)


def test_a_file_that_cannot_be_read_keeps_its_cause(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.txt", tmp_path):
        with pytest.raises(ReadingFailed) as raised:
            load_document(path)
        assert isinstance(raised.value.__cause__, OSError)
