"""If these fail, a document is in memory and cannot be found: not by its headings, not by what stands in a table or in code, not
by its author or its title; or a hit does not say where in the document it stands."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from memos_core import MOS, Document, F, Session

MARKDOWN = """---
title: Field notes
author: Ada Winter
date: 2023-09-14
---

# Birds of the estuary

An introduction that mentions no bird at all.

## Waders

The curlew has a bill that bends down. It probes the mud at low tide.

| bird | wingspan | ringed |
|---|---|---|
| godwit | 74 cm | 31 |
| dunlin | 36 cm | 208 |

## Software

Counts are read by the script:

```python
def count_plovers(frames):
    return sum(frame.plovers for frame in frames)
```

- batteries last nine hours
- the tripod is borrowed from Kiel
"""
HTML = """<html><head><title>Harbour rules</title><meta name="author" content="Olaf Brandt"></head><body>
<h1>Moorings</h1><p>Boats over twelve metres moor at the outer pier.</p>
<h2>Winter</h2><p>From November on, hoses are shut off &amp; drained.</p>
<script>var secret = "curlew";</script></body></html>"""
PLAIN = """HEARING PROTECTION

Workers in the engine room wear ear muffs.

Those with a beard get larger ones."""


@pytest.fixture(scope="module", params=[None, "hashing"], ids=["words", "vectors"])
def reader(request: pytest.FixtureRequest) -> Iterator[Session]:
    with MOS.open(":memory:", embedder=request.param) as mos:
        session = mos.session("reader")
        session.add(Document(uri="notes/birds.md", format="markdown", text=MARKDOWN, metadata={"shelf": 3}))
        session.add(Document(uri="harbour.html", format="html", text=HTML))
        session.add(Document(uri="noise.txt", text=PLAIN, author="Jo Adler", at=datetime(2021, 2, 3, tzinfo=UTC)))
        session.add("A curlew called at night.")
        yield session


@pytest.mark.parametrize(
    ("question", "words", "uri"),
    [
        ("how does the curlew's bill bend?", "bends down", "notes/birds.md"),
        ("wingspan of the dunlin", "36 cm", "notes/birds.md"),
        ("godwit ringed", "| 31 |", "notes/birds.md"),
        ("count_plovers", "def count_plovers", "notes/birds.md"),
        ("where is the tripod from?", "borrowed from Kiel", "notes/birds.md"),
        ("outer pier", "over twelve metres", "harbour.html"),
        ("what happens to the hoses in winter?", "shut off & drained", "harbour.html"),
        ("ear muffs with a beard", "beard get larger", "noise.txt"),
    ],
)
def test_whatever_stands_in_a_document_is_found(reader: Session, question: str, words: str, uri: str) -> None:
    (hit, *_) = reader.search(question)
    assert words in hit.text
    source = hit.item.provenance.source
    assert source is not None
    assert source.uri == hit.item.conversation == uri
    text = {"notes/birds.md": MARKDOWN, "noise.txt": PLAIN}.get(uri)
    if text is not None:
        assert source.span is not None
        assert text[slice(*source.span)] == hit.text, "it says where it stands"


@pytest.mark.parametrize(
    ("question", "uri"),
    [("Field notes waders", "notes/birds.md"), ("Harbour rules winter", "harbour.html"), ("moorings", "harbour.html")],
)
def test_titles_and_headings_are_found_with_their_pieces(reader: Session, question: str, uri: str) -> None:
    assert reader.search(question)[0].item.conversation == uri


@pytest.mark.parametrize(
    ("question", "author"),
    [
        ("What does Ada Winter write about mud?", "Ada Winter"),
        ("What has Olaf Brandt written?", "Olaf Brandt"),
        ("What does Adler say of workers?", "Jo Adler"),
    ],
)
def test_the_author_is_the_speaker(reader: Session, question: str, author: str) -> None:
    hits = reader.search(question, top_k=100)
    assert hits[0].item.speaker == author
    assert all((hit.parts["speaker"] > 0) == (hit.item.speaker == author) for hit in hits)


def test_when_it_was_written_is_its_time(reader: Session) -> None:
    hits = reader.search("What was written in September 2023?", top_k=100)
    assert all(
        (hit.parts["date"] == max(h.parts["date"] for h in hits)) == (hit.item.speaker == "Ada Winter") for hit in hits
    )
    assert {item.conversation for item in reader.list(where=F.occurred_at < datetime(2022, 1, 1, tzinfo=UTC))} == {
        "noise.txt"
    }


def test_what_is_no_text_is_not_found(reader: Session) -> None:
    assert not any("secret" in hit.text for hit in reader.search("secret curlew", top_k=100))


def test_documents_are_filtered_by_where_they_lie_and_what_they_are(reader: Session) -> None:
    everything = reader.list(limit=100)
    assert {hit.item.conversation for hit in reader.search("curlew", where=F.uri == "notes/birds.md")} == {
        "notes/birds.md"
    }
    assert [hit.text for hit in reader.search("curlew", where=F.type == "fact")] == ["A curlew called at night."]
    assert len(reader.list(where=F.shelf == 3)) == sum(item.conversation == "notes/birds.md" for item in everything)
    assert {item.conversation for item in reader.list(where=F.heading.contains("Moorings"))} == {"harbour.html"}
    assert {item.conversation for item in reader.list(where=F["heading"][0] == "Field notes")} == {"notes/birds.md"}
    first = reader.list(where=(F.uri == "harbour.html") & (F.position == 0))
    assert len(first) == 1
    assert "Moorings" in first[0].text
