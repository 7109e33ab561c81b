"""If these fail, the same memory means something else on one database than on the other: order, bytes, numbers, names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import PostgresServer

from memos_core.errors import InvalidText
from memos_core.stores.opening import open_sql
from memos_core.stores.sql.records import SqlStore
from memos_core.types.access import Right
from memos_core.types.items import Link
from memos_core.types.work import Body, CubeRow, Put, VectorBlobs

# Upper and lower case, accents, digits, scripts: every collation orders them in another way.
NAMES = [
    "b",
    "B",
    "a",
    "Ä",
    "ä",
    "z",
    "Z",
    "é",
    "e",
    "_",
    "-",
    "10",
    "9",
    "ß",
    "ss",
    "你",
    "α",
    "😀",
    "a b",
    "ab",
    "İ",
    "i",
]
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module", params=["C.UTF-8", "icu"])
def both(
    request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[SqlStore, SqlStore]]:
    """A store in SQLite, and one on a server; in a database with byte order, and in one with that of a language."""
    options = (
        "" if request.param != "icu" else "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'sv-SE' LOCALE 'C.UTF-8'"
    )
    name = postgres.new_database(options)
    with (
        closing(open_sql(tmp_path_factory.mktemp("both"), deadline=20, now=lambda: _NOW)) as sqlite,
        closing(open_sql(postgres.url(name), deadline=20, now=lambda: _NOW)) as server,
    ):
        yield sqlite, server
    postgres.drop_database(name)


def create(store: SqlStore, name: str) -> CubeRow:
    with store.begin(actor="a", action="create") as transaction:
        return transaction.cube(name) or transaction.create_cube(name, name)


def write(store: SqlStore, cube: str, *puts: Put) -> None:
    with store.begin(actor="a", action="add") as transaction:
        row = transaction.cube(cube)
        assert row is not None
        transaction.put(row, puts)


def test_names_are_in_the_same_order(both: tuple[SqlStore, SqlStore]) -> None:
    answers = []
    for store in both:
        for name in NAMES:
            create(store, name)
        cube = create(store, "shared")
        for name in NAMES:
            store.share(cube, name, frozenset({Right.READ}), by="a")
        answers.append(
            (
                [each.name for each in store.cubes()],
                [grant.grantee for grant in store.grants(cube)],
                [store.cube(name) is not None for name in ("b", "B", "É", "SS", "Ss")],
            )
        )
    assert answers[0] == answers[1]
    assert answers[0][1] == sorted(NAMES)


_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=20)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=5,
)
_serial = iter(range(1 << 30))


@given(
    text=_texts,
    key=_texts | st.none(),
    payload=_json,
    target=_texts,
    weight=st.floats(0, 1),
    dedup=st.integers(-(2**63), 2**63 - 1),
    vector=st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=2),
    many=st.sampled_from([1, 20]),
)
def test_what_goes_in_comes_out(
    both: tuple[SqlStore, SqlStore],
    text: str,
    key: str | None,
    payload: Any,
    target: str,
    weight: float,
    dedup: int,
    vector: list[float],
    many: int,
) -> None:
    """Any text, any JSON, any 64-bit number; one by one, and copied in bulk."""
    number = next(_serial)
    answers = []
    for store in both:
        cube = create(store, f"c{number}")
        blob = np.array(vector, dtype="<f4").tobytes()
        body = Body(key=key, payload=payload, links=(Link("to", target, weight),), conversation=text)
        rest = [Put(id=f"{text}{n}", op="add", text=text, body=Body(payload=payload)) for n in range(many)]
        write(
            store,
            cube.name,
            Put(id=text, op="add", text=text, body=body, dedup=dedup, vectors=VectorBlobs(blob, blob * 3)),
            *rest,
        )
        records = store.records(cube, range(1, many + 2))
        with store.begin(actor="a", action="look") as transaction:
            locked = transaction.cube(cube.name)
            assert locked is not None
            found = transaction.heads_by_dedup(locked, [dedup])[dedup].id
            assert transaction.reserve_positions(locked, text, 3) == 0
            assert transaction.reserve_positions(locked, text, 1) == 3
        with store.database.reading() as connection:
            links = [
                tuple(row)
                for row in connection.exec_driver_sql(
                    f"SELECT relation, target, weight FROM links WHERE cube = {cube.number}"
                )
            ]
        answers.append(
            (
                [(r.seq, r.id, r.text, r.body, r.op) for r in records.values()],
                store.vectors(cube, [1]),
                sorted(store.heads(cube, [text, text.upper(), text.lower()])),
                store.heads_by_key(cube, [key or "none"]).keys(),
                found,
                links,
                store.check(cube, 2),
            )
        )
        assert records[1].body == body
    assert answers[0] == answers[1]


@pytest.mark.parametrize("many", [1, 20])
def test_text_that_one_of_them_could_not_keep_is_refused_by_both(both: tuple[SqlStore, SqlStore], many: int) -> None:
    """NUL characters and lone surrogates do not get this far; if they did, nothing would be kept, and nothing break."""
    for store in both:
        cube = create(store, "refused")
        before = store.head_seq(cube)
        for bad in ("a\x00b", "a\ud800b"):
            try:
                write(
                    store,
                    "refused",
                    *(Put(id=f"{many} {bad!r} {n}", op="add", text=bad, body=Body()) for n in range(many)),
                )
            except (InvalidText, UnicodeEncodeError):
                assert store.head_seq(cube) == before
            else:
                assert store is both[0], "the server kept what SQLite may keep"
                before = store.head_seq(cube)
        assert store.check(cube, None) == []


def test_the_largest_numbers_fit(both: tuple[SqlStore, SqlStore]) -> None:
    """Cube numbers up to 2^22, change numbers up to 2^40: places are 63 bits wide in both."""
    for store in both:
        create(store, "large")
        with store.database.writing() as connection:
            connection.exec_driver_sql(
                f"UPDATE cubes SET cube = {(1 << 22) - 1}, seq = {(1 << 40) - 3} WHERE name = 'large'"
            )
        write(store, "large", Put(id="x", op="add", text="x", body=Body(), dedup=2**63 - 1))
        cube = store.cube("large")
        assert cube is not None
        assert store.records(cube, [(1 << 40) - 2])[(1 << 40) - 2].id == "x"
        assert store.heads(cube, ["x"])["x"].item == ((1 << 22) - 1) << 40 | ((1 << 40) - 2)
