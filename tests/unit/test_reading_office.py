"""If these fail, what stands in people's PDFs and Office documents is not found, or one bad file stops a whole folder."""

from __future__ import annotations

import random
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cli_running import Memos
from office_files import encrypted_pdf, pdf, saved, slides, with_parts, word, workbook

from memos_core import MOS, Document
from memos_core.errors import InvalidInput, MissingPackage, ReadingFailed
from memos_core.reading import binary, layout
from memos_core.reading.documents import load_document, read_document
from memos_core.types.inputs import Draft, Stretch

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def read(path: Path) -> list[Draft]:
    """The drafts of a file; each span must be where the words are."""
    document = load_document(path)
    drafts = read_document(document, now=NOW)
    for draft in drafts:
        assert draft.source is not None
        assert draft.source.span is not None
        start, end = draft.source.span
        assert document.text[start:end] == draft.text
    return drafts


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# -- PDF --------------------------------------------------------------------------------------------------------------

PAGES = [
    "Starting\nOpen the valve, then prime the pump.",
    "Winter\nDrain the pump before the first frost.\nIt is fra-\ngile.",
]


def test_pdf_page_by_page(tmp_path: Path) -> None:
    drafts = read(
        written(tmp_path / "pump.pdf", pdf(PAGES, title="The P-7 pump", outline=[("Starting", 1), ("WINTER", 2)]))
    )
    assert [draft.metadata["page"] for draft in drafts] == [1, 2]
    assert drafts[0].text == "Starting\n\nOpen the valve, then prime the pump."
    assert drafts[1].text.endswith("It is fragile.")
    assert [draft.metadata["heading"] for draft in drafts] == [["The P-7 pump", "Starting"], ["The P-7 pump", "Winter"]]
    assert drafts[0].source is not None
    assert (drafts[0].source.speaker, drafts[0].occurred_at) == ("Ann", datetime(2024, 5, 8, 10, tzinfo=UTC))


def test_pdf_without_outline_and_with_a_picture_among_pages(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    drafts = read(written(tmp_path / "pump.pdf", pdf([PAGES[0], None, PAGES[1]])))
    assert [draft.metadata["page"] for draft in drafts] == [1, 3]
    assert "heading" not in drafts[0].metadata
    assert "1 of 3 pages of a PDF are pictures" in caplog.text
    assert "pump.pdf" not in caplog.text


def test_a_pdf_is_one_whatever_it_is_called(tmp_path: Path) -> None:
    assert read(written(tmp_path / "pump.bin", pdf(PAGES)))[0].metadata["page"] == 1


def test_pdf_that_only_restricts_printing_is_read(tmp_path: Path) -> None:
    assert len(read(written(tmp_path / "pump.pdf", encrypted_pdf(PAGES, user="", owner="secret")))) == 2


def test_pdf_that_needs_another_package_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AES needs a package that pypdf does not bring; what it raises without one is met here."""
    import pypdf
    from pypdf.errors import DependencyError

    def missing(*_: object) -> None:
        raise DependencyError("cryptography>=3.1 is required for AES algorithm")

    monkeypatch.setattr(pypdf.PdfReader, "decrypt", missing)
    with pytest.raises(ReadingFailed, match=r"pump\.pdf' .*pip install cryptography"):
        read(written(tmp_path / "pump.pdf", encrypted_pdf(PAGES, user="", owner="secret")))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (encrypted_pdf(PAGES, user="secret", owner="x"), "is encrypted with a password; save it without one"),
        (pdf([None, None]), "has 2 pages and no text: they are pictures, so it was probably scanned"),
        (pdf([""]), "has 1 pages and no text: they are empty"),
        (pdf(PAGES)[:200], "cannot be read as a PDF, it is damaged"),
        (b"%PDF-1.7\n" + b"\x00\xff" * 500, "cannot be read as a PDF, it is damaged"),
        (b"<html>Not found</html>", "is not a PDF as its ending says"),
        (b"", "is not a PDF as its ending says"),
    ],
    ids=["encrypted", "scanned", "empty", "cut", "noise", "html", "nothing"],
)
def test_pdf_that_cannot_be_read_says_why(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(ReadingFailed, match=said) as told:
        read(written(tmp_path / "pump.pdf", data))
    assert "pump.pdf" in str(told.value)


# -- Office -----------------------------------------------------------------------------------------------------------


def test_word_by_its_headings(tmp_path: Path) -> None:
    drafts = read(saved(word(), tmp_path / "pump.docx"))
    assert [(draft.metadata["heading"], draft.text) for draft in drafts] == [
        (
            ["The P-7 pump", "Starting"],
            "Starting\n\nOpen the valve, then prime the pump.\n\nTools\n\na wrench\na bucket",
        ),
        (
            ["The P-7 pump", "Winter"],
            "Winter\n\nPart | Torque\nHousing | 12 Nm\nValve | 7 Nm\n\nInside of a control.\n\nIt holds six litres.",
        ),
    ]
    assert drafts[0].source is not None
    assert (drafts[0].source.speaker, drafts[0].occurred_at) == ("Ann", datetime(2024, 5, 8, 10, tzinfo=UTC))


def test_slides_with_notes_and_tables(tmp_path: Path) -> None:
    drafts = read(saved(slides(), tmp_path / "quarter.pptx"))
    assert [(draft.metadata["slide"], draft.metadata["heading"], draft.text) for draft in drafts] == [
        (1, ["Quarter", "Results"], "Results\n\nSales grew\nCosts fell\n\nNotes: Thank the team."),
        (2, ["Quarter", "Outlook"], "Outlook\n\nYear | Plan\n2027 | 9 million"),
    ]


def test_sheets_keep_their_names_and_tables_their_first_row(tmp_path: Path) -> None:
    drafts = read(saved(workbook(rows=100), tmp_path / "prices.xlsx"))
    prices = [draft for draft in drafts if draft.metadata["sheet"] == "Prices"]
    assert len(prices) > 3
    assert all("Item | Price | Since" in draft.text for draft in prices)
    assert all(draft.metadata["heading"] == ["Prices"] for draft in prices)
    rows = [line for draft in prices for line in draft.text.split("\n") if line.startswith("Pump")]
    assert rows[2] == "Pump 3 | 3.3 | 2024-01-04"
    assert [row.split(" | ")[0] for row in rows] == [f"Pump {number}" for number in range(1, 101)]
    assert drafts[-1].text == "Notes\n\nAsk Bob\n\nTrue"


@pytest.mark.parametrize(("made", "ending"), [(word, "docx"), (slides, "pptx"), (workbook, "xlsx")])
def test_office_files_that_cannot_be_read_say_why(tmp_path: Path, made: Any, ending: str) -> None:
    path = saved(made(), tmp_path / f"mine.{ending}")
    sound = path.read_bytes()
    for data, said in (
        (b"\xd0\xcf\x11\xe0" + b"\x00" * 600, "is encrypted with a password, or an old Office document"),
        (sound[: len(sound) // 2], "damaged"),
        (b"hello", "as its ending says, or damaged"),
        (b"PK\x03\x04" + b"\x00" * 100, "as its ending says, or damaged"),
    ):
        with pytest.raises(ReadingFailed, match=said) as told:
            read(written(path, data))
        assert f"mine.{ending}" in str(told.value)
    assert read(written(tmp_path / "without_ending", sound))


@pytest.mark.soak
@pytest.mark.parametrize("ending", ["pdf", "docx", "pptx", "xlsx"])
def test_damage_of_any_kind_is_a_clear_error_or_does_no_harm(tmp_path: Path, rounds: Any, ending: str) -> None:
    made = {"docx": word, "pptx": slides, "xlsx": workbook}
    path = tmp_path / f"mine.{ending}"
    sound = pdf(PAGES) if ending == "pdf" else saved(made[ending](), path).read_bytes()
    chance = random.Random(5)
    told: list[str] = []
    for _ in range(rounds(25, 1000)):
        data = bytearray(sound)
        for _ in range(chance.choice([1, 5, 50])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(bytes(data[: chance.choice([len(data), chance.randrange(len(data))])]))
        try:
            read(path)
        except (ReadingFailed, InvalidInput) as error:  # the second where nothing was left to read
            told.append(str(error))
    assert all(f"mine.{ending}" in each for each in told)


# -- limits -----------------------------------------------------------------------------------------------------------


def test_zip_bombs_are_refused_before_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary, "MOST_UNPACKED", 16 << 20)
    monkeypatch.setattr(binary, "MOST_XML", 2 << 20)
    bomb = with_parts(
        saved(word(), tmp_path / "bomb.docx"), {f"word/media/zeros{number}.bin": bytes(4 << 20) for number in range(4)}
    )
    assert bomb.stat().st_size < 200_000
    with pytest.raises(ReadingFailed, match=r"bomb.docx' unpacks to 16 MB in \d+ parts; more than 16 MB"):
        read(bomb)
    long = with_parts(saved(word(), tmp_path / "long.docx"), {"word/document.xml": b" " * ((2 << 20) + 1)})
    with pytest.raises(ReadingFailed, match=r"word/document\.xml' has 2 MB, more than 2 are not read"):
        read(long)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_in_xml_are_refused(tmp_path: Path, encoding: str) -> None:
    lol = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>'
    path = with_parts(saved(word(), tmp_path / "lol.docx"), {"word/document.xml": lol.encode(encoding)})
    with pytest.raises(ReadingFailed, match="declares entities"):
        read(path)


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "pump.pdf", pdf(PAGES))
    monkeypatch.setattr(layout, "MOST_CHARACTERS", 30)
    with pytest.raises(ReadingFailed, match=r"pump.pdf' holds more than 30 characters"):
        read(path)
    monkeypatch.setattr(binary, "MOST_BYTES", 100)
    with pytest.raises(ReadingFailed, match=r"pump.pdf' has 0 MB, more than 0 are not read"):
        read(path)
    from memos_core.reading import pdf as pdf_reading
    from memos_core.reading import sheets

    monkeypatch.undo()
    monkeypatch.setattr(pdf_reading, "_MOST_DRAWING", 10)
    with pytest.raises(ReadingFailed, match="page 1 has more than"):
        read(path)
    monkeypatch.setattr(sheets, "_MOST_CELLS", 5)
    with pytest.raises(ReadingFailed, match="more than 5 cells"):
        read(saved(workbook(), tmp_path / "prices.xlsx"))


# -- in memory --------------------------------------------------------------------------------------------------------


def test_a_hit_says_on_which_page_and_a_new_edition_replaces_what_changed(tmp_path: Path) -> None:
    path = written(tmp_path / "pump.pdf", pdf(PAGES))
    with MOS.open(":memory:") as mos:
        alice = mos.session("alice")
        assert len(alice.add(load_document(path)).new) == 2
        hit = alice.search("when must it be drained?")[0]
        assert (hit.item.metadata["page"], hit.item.provenance.source.uri) == (2, path.as_posix())
        assert [each.text for each in alice.search("pump", where={"page": 1})] == [PAGES[0]]
        path.write_bytes(pdf(["A page in front.", *PAGES]))
        again = alice.add(load_document(path))
        assert (len(again.new), len(again.changed), len(again.removed)) == (1, 2, 0)
        assert alice.search("when must it be drained?")[0].item.metadata["page"] == 3


def test_a_layout_of_ones_own_is_checked() -> None:
    text = "Pump. Drain it."
    good = Document(
        uri="x", text=text, layout=(Stretch(start=0, end=5, kind="heading", level=1), Stretch(start=6, end=15))
    )
    assert [draft.metadata["heading"] for draft in read_document(good, now=NOW)] == [["Pump."]]
    for wrong in (
        (Stretch(start=0, end=99),),
        (Stretch(start=5, end=9), Stretch(start=0, end=4)),
        (Stretch(start=4, end=2),),
    ):
        with pytest.raises(InvalidInput, match="out of order, or reaches beyond"):
            read_document(Document(uri="x", text=text, layout=wrong), now=NOW)


def test_a_folder_goes_on_behind_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    memos = Memos(tmp_path)
    folder = tmp_path / "papers"
    folder.mkdir()
    written(folder / "a-scan.pdf", pdf([None]))
    written(folder / "b-secret.pdf", encrypted_pdf(PAGES, user="secret", owner="x"))
    written(folder / "c-cut.docx", saved(word(), folder / "c-cut.docx").read_bytes()[:999])
    written(folder / "d-pump.pdf", pdf(PAGES))
    saved(workbook(), folder / "e-prices.xlsx")
    told = memos("ingest", "papers", "--json").json
    assert told["files"] == 2
    assert [each["path"] for each in told["failed"]] == [
        "papers/a-scan.pdf",
        "papers/b-secret.pdf",
        "papers/c-cut.docx",
    ]
    assert "recognise its text first" in told["failed"][0]["reason"]
    assert "frost" in memos("search", "when to drain the pump?").out
    ran = memos("ingest", "papers/a-scan.pdf", code=1)
    assert "not read: papers/a-scan.pdf: has 1 pages and no text" in ran.err


def test_without_the_library_the_rest_of_a_folder_is_read(tmp_path: Path) -> None:
    written(tmp_path / "a.pdf", pdf(PAGES))
    (tmp_path / "b.md").write_text("# Notes\n\nThe server is called Hekla.\n")
    code = """
import sys
for name in ("pypdf", "docx", "pptx", "openpyxl", "lxml"):
    sys.modules[name] = None
from memos_core.reading.documents import load_document
from memos_core.errors import MissingPackage
try:
    load_document("a.pdf")
except MissingPackage as error:
    print(error)
sys.argv = ["memos", "ingest", "a.pdf", "b.md", "--store", "memory", "--as", "alice"]
from memos_core.cli import main
main()
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.stdout.startswith("reading a PDF needs the package 'pypdf': pip install 'memoskit[documents]'"), (
        ran.stderr
    )
    assert "1 added" in ran.stdout
    assert "not read: a.pdf: reading a PDF needs the package" in ran.stderr
    assert MissingPackage.__doc__
