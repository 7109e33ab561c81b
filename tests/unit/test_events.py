"""If these fail, people's memories get into logs and traces, or whoever runs memos cannot see what it is doing."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from memos_core import MOS, Document, Message
from memos_core.errors import EmbeddingFailed, MemosError
from memos_core.events import JsonLines, event
from memos_core.reading.documents import load_document

CANARY = "zanzibarcanary"


class Fragile:
    """An embedder whose errors quote what they were given, as those of others do."""

    model = "fragile"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        if any("fail" in text for text in texts):
            raise RuntimeError(f"cannot embed {texts}")
        return [[1.0] * 8 for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def live_a_life(folder: Path) -> None:
    """Everything that makes events, with a canary in every text that somebody could write."""
    with MOS.open(folder / "memory", embedder=Fragile()) as mos:
        alice = mos.session("alice", conversation=f"talk {CANARY}")
        fact = alice.add(
            f"fact {CANARY}", tags=[CANARY], metadata={CANARY: CANARY}, payload=CANARY, key=f"key {CANARY}"
        ).id
        alice.add([Message(content=f"said {CANARY}", speaker=f"Ann {CANARY}")])
        (folder / "notes.md").write_text(f"# {CANARY}\n\nwritten {CANARY}\n")
        alice.add(load_document(folder / "notes.md"))
        alice.add(Document(uri="x", text=f"{CANARY} document"))
        alice.search(f"where is {CANARY}?", where={"metadata.x": CANARY})
        alice.context(f"tell me {CANARY}")
        alice.update(fact, text=f"changed {CANARY}")
        alice.delete(fact)
        alice.restore(fact)
        alice.rollback(fact, 1)
        mos.backup(folder / "backups")
        mos.verify()
        mos.reindex()
        MOS.restore(folder / "backups", folder / "again")
        for wrong in (
            lambda: alice.add(f"fail {CANARY}"),
            lambda: alice.search(f"fail {CANARY}"),
            lambda: alice.add("x", key=f"key {CANARY}"),
            lambda: alice.get(key=f"no {CANARY}"),
            lambda: alice.search(f"{CANARY}", cursor=CANARY),
            lambda: alice.add(f"\x00{CANARY}"),
        ):
            with pytest.raises(MemosError):
                wrong()
    with MOS.open(folder / "again", embedder=Fragile()) as again:
        again.session("alice").search(f"where is {CANARY}?")


@pytest.fixture
def listening(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """All records of all loggers, at the lowest levels; the database library's at the level that tells statements."""
    levels = {"": 1, "memos_core": 1, "sqlalchemy": logging.INFO}
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    caplog.handler.setLevel(1)
    yield caplog
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def told(record: logging.LogRecord) -> str:
    """All that any handler could make of a record, but the messages of errors that others log."""
    return f"{record.getMessage()} {record.__dict__!r} {JsonLines().format(record)}"


def test_no_record_holds_a_word_of_a_memory_or_a_question(listening: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    live_a_life(tmp_path)
    records = listening.records
    names = {record.__dict__.get("event") for record in records}
    assert names >= {
        "memos.add",
        "memos.update",
        "memos.delete",
        "memos.restore",
        "memos.search",
        "memos.catch_up",
        "memos.embed",
        "memos.backup",
        "memos.restore_store",
    }
    assert any(record.name.startswith("sqlalchemy") for record in records)
    assert [told(record) for record in records if CANARY in told(record)] == []


def test_events_tell_ids_counts_and_durations(listening: pytest.LogCaptureFixture) -> None:
    with MOS.open(":memory:", embedder=Fragile()) as mos:
        alice = mos.session("alice")
        added = alice.add(["one", "two"])
        alice.search("one")
        with pytest.raises(EmbeddingFailed):
            alice.add("fail")
        alice.update(added.ids[0], metadata={"n": 1})
    records = listening.records
    found = [(record.__dict__["event"], record.__dict__["facts"]) for record in records if "facts" in record.__dict__]
    assert ("memos.add", {"cubes": ["alice"], "things": 2, "new": 2, "known": 0, "changed": 0, "removed": 0}) in found
    assert ("memos.search", {"cubes": ["alice"], "top_k": 10, "hits": 2, "degraded": False}) in found
    assert ("memos.catch_up", {"cube": "alice", "after": 0, "until": 2}) in found
    assert ("memos.add", {"cubes": ["alice"], "things": 1, "error": "EmbeddingFailed"}) in found
    assert ("memos.update", {"id": added.ids[0]}) in found
    assert all(record.__dict__["ms"] >= 0 for record in records if "facts" in record.__dict__)


def test_json_lines() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("memos_core")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with event("memos.job", job=7, kind="extract") as heard:
            heard.note(attempt=2)
        try:
            raise ValueError(CANARY)
        except ValueError:
            logger.exception("it %s", "failed")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    first, second = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert first.pop("at").endswith("+00:00")
    assert first.pop("ms") >= 0
    assert first == {
        "level": "DEBUG",
        "logger": "memos_core.events",
        "event": "memos.job",
        "job": 7,
        "kind": "extract",
        "attempt": 2,
    }
    assert (second["message"], second["exception"]) == ("it failed", "ValueError")
    assert "test_events.py" in second["raised"][0]
    assert CANARY not in stream.getvalue()


def test_nothing_is_logged_or_imported_where_nobody_listens() -> None:
    code = """
import logging, sys
logging.basicConfig(level=logging.INFO)
from memos_core import MOS
with MOS.open(":memory:") as mos:
    mos.session("alice").add("hello")
    mos.session("alice").search("hello")
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


SPANS = """
import sys
from pathlib import Path
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
sys.path.insert(0, sys.argv[2])
from test_events import live_a_life
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
with trace.get_tracer("app").start_as_current_span("request"):
    live_a_life(Path(sys.argv[1]))
print("[" + ",".join(span.to_json(indent=None) for span in exporter.get_finished_spans()) + "]")
"""


def test_spans_of_opentelemetry(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SPANS, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert CANARY not in done.stdout
    spans = json.loads(done.stdout)
    by_name = {span["name"]: span for span in spans}
    assert {"memos.add", "memos.search", "memos.catch_up", "memos.backup"} <= set(by_name)
    request = by_name["request"]["context"]["span_id"]
    assert by_name["memos.backup"]["parent_id"] == request  # inside of the application's own span
    searched = next(span for span in spans if span["name"] == "memos.search" and "memos.hits" in span["attributes"])
    assert searched["attributes"]["memos.cubes"] == ["alice"]
    failed = [span for span in spans if span["status"]["status_code"] == "ERROR"]
    assert {span["attributes"]["error.type"] for span in failed} >= {
        "EmbeddingFailed",
        "AlreadyExists",
        "InvalidCursor",
    }
    assert all(span["events"] == [] for span in spans)
