"""What every test needs: no network, no telemetry, one thread for each numeric library; and how long the long tests run."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from chroma_running import chroma, embedded, server  # noqa: F401 - fixtures
from hypothesis import HealthCheck, settings

for name, value in {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ANONYMIZED_TELEMETRY": "False",
    "LANGSMITH_TRACING": "false",
}.items():
    os.environ[name] = value

from servers import database, own_postgres, postgres, postgres_url  # noqa: E402

__all__ = ["database", "own_postgres", "postgres", "postgres_url"]
Rounds = Callable[[int, int], int]

# Generated examples: the same ones in every ordinary run, new and more of them in a long one.
_SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "slice", max_examples=40, derandomize=True, database=None, deadline=None, suppress_health_check=_SLOW_IS_FINE
)
settings.register_profile(
    "soak", max_examples=1000, database=None, deadline=None, print_blob=True, suppress_health_check=_SLOW_IS_FINE
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run long tests for their full count, not for a seeded slice")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("soak" if config.getoption("--soak") else "slice")


@pytest.hookimpl(tryfirst=True)  # before `-m soak` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever has a full count of its own is a long test, whether its author has thought of saying so or not."""
    for item in items:
        test = getattr(item, "obj", None)
        if "rounds" in getattr(item, "fixturenames", ()) or getattr(test, "is_hypothesis_test", False):
            item.add_marker("soak")


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Rounds:
    """How often a long test goes round: `rounds(slice, full)` is the slice, with --soak the full count. Both are printed."""

    def chosen(part: int, full: int) -> int:
        count = full if request.config.getoption("--soak") else part
        request.node.user_properties.append(("rounds", f"{count} of {full} rounds"))
        return count

    return chosen


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [
        f"{value}: {report.nodeid}"
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for name, value in report.user_properties
        if name == "rounds"
    ]
    if lines:
        terminalreporter.write_sep("-", "long tests")
        terminalreporter.write_line("\n".join(lines))
