"""What happens, for logs and traces: names, ids, counts and durations. Never the words of a memory or a question.

Every event is a record of the logger `memos_core.events` (DEBUG), with its facts as `record.facts`, and a span of
OpenTelemetry where the application uses it: memos looks whether `opentelemetry.trace` has been imported, and imports
nothing itself. Where nobody listens, an event costs about a microsecond.

    logging.getLogger("memos_core").setLevel(logging.DEBUG)
    handler.setFormatter(JsonLines())

Events: `memos.add`, `memos.update`, `memos.delete`, `memos.restore`, `memos.search`, `memos.catch_up` (an index applies what
is new), `memos.embed`, `memos.uses` (uses are counted), `memos.backup`, `memos.restore_store`, `memos.vacuum`, `memos.audit`
(what was read is written down; `memos.audit_lost`: it cannot be), `memos.checkpoint` (the audit is signed), and `memos.job`
for whatever runs jobs. One that ends with an error has `error`: its type. Its message may quote what was passed in, so it is
never part of an event.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

JOB: Final = "memos.job"
_TRACING: Final = "opentelemetry.trace"
_SEQUENCES: Final = (list, tuple)
log = logging.getLogger(__name__)
_tracers: dict[str, Any] = {}  # one that is made before the application sets a provider takes that one later


class Event:
    """Something that begins and ends. Use it in a `with` block; the block's error is noted and goes on."""

    __slots__ = ()

    def note(self, **facts: Any) -> None:
        """Add facts: ids, counts, flags."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nobody listens."""


class _Heard(Event):
    """An event that somebody listens to."""

    __slots__ = ("_began", "_facts", "_name", "_span", "_span_context")

    def __init__(self, name: str, facts: dict[str, Any]) -> None:
        self._name = name
        self._facts = facts
        self._span: Any = None
        self._span_context: Any = None
        self._began = 0.0

    def note(self, **facts: Any) -> None:
        self._facts.update(facts)

    def __enter__(self) -> Self:
        tracing = sys.modules.get(_TRACING)
        if tracing is not None:
            tracer = _tracers.get("memos_core") or _tracers.setdefault("memos_core", tracing.get_tracer("memos_core"))
            # the error's own words may be words of a memory: they must not get into the span
            self._span_context = tracer.start_as_current_span(
                self._name, record_exception=False, set_status_on_exception=False
            )
            self._span = self._span_context.__enter__()
        self._began = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        taken = round((time.perf_counter() - self._began) * 1e3, 3)
        if kind is not None:
            self._facts["error"] = kind.__name__
        if self._span is not None:
            if self._span.is_recording():
                for name, value in self._facts.items():
                    if value is not None:
                        own = "error.type" if name == "error" else f"memos.{name}"
                        self._span.set_attribute(own, list(value) if isinstance(value, _SEQUENCES) else value)
                if kind is not None:
                    status = sys.modules[_TRACING]
                    self._span.set_status(status.Status(status.StatusCode.ERROR, kind.__name__))
            self._span_context.__exit__(None, None, None)
        if log.isEnabledFor(logging.DEBUG):
            said = " ".join(f"{name}={value}" for name, value in self._facts.items() if value is not None)
            extra = {"event": self._name, "facts": self._facts, "ms": taken}
            log.debug("%s %.3f ms %s", self._name, taken, said, extra=extra)


_UNHEARD: Final = Event()


def event(name: str, **facts: Any) -> Event:
    """An event, to be used in a `with` block.

    Args:
        name: "memos.search".
        facts: ids, counts, flags. Never texts, questions, metadata or messages of errors.
    """
    if _TRACING in sys.modules or log.isEnabledFor(logging.DEBUG):
        return _Heard(name, facts)
    return _UNHEARD


class JsonLines(logging.Formatter):
    """Log records as JSON, a line each: at, level, logger, message; for events also event, ms, and their facts.

    Of an exception it tells the type and where it was raised; its message may be about what is in memory.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        told: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
        }
        facts = getattr(record, "facts", None)
        if isinstance(facts, dict):
            told |= {"event": getattr(record, "event", None), "ms": getattr(record, "ms", None), **facts}
        else:
            told["message"] = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            frames = traceback.extract_tb(record.exc_info[2])
            told["exception"] = record.exc_info[0].__name__
            told["raised"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        return json.dumps(told, ensure_ascii=False, default=str)
