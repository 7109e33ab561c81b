"""CubeIndex: the embedded index of one cube, kept current through the change log."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memos_core.errors import EmbedderMismatch, WrongDimension
from memos_core.events import event
from memos_core.filters import Filter
from memos_core.protocols.storage import RecordStore
from memos_core.protocols.vectors import Abilities, Nearest
from memos_core.stores.index import vectors
from memos_core.stores.index.analysis import ANALYSIS_VERSION, Analyzer, idf
from memos_core.stores.index.columns import ABSENT_TIME, filter_mask
from memos_core.stores.index.cube_files import CubeFiles
from memos_core.stores.index.fields import FieldColumns
from memos_core.stores.index.moments import EVERYTHING, FINDABLE, Look, Moment, moment
from memos_core.stores.index.parts import Part, Tail
from memos_core.stores.index.people import People
from memos_core.stores.index.postings import Counts, term_hash
from memos_core.stores.index.rows import ALIVE, COLUMNS, NEVER, NONE, STATES, RowTable, Threads
from memos_core.stores.index.salience import has_number, salience
from memos_core.stores.index.segment import FORMAT, SegmentRefused
from memos_core.stores.index.tokens import best_matches
from memos_core.stores.index.vectors import QueryVector, best
from memos_core.types.inputs import IMAGE_MARK
from memos_core.types.work import Body, CubeRow, Record, VectorBlobs, micros

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]

FLUSH_ROWS = 8192
SMALL_ROWS = 1024  # a cube with fewer rows has no files: it is filled from the truth when first used
_ROUNDING = 1e-5  # of float32 sums, on top of what quantising loses
_MOST_READERS = 64  # whose moments are kept at once
_SCAN = 0.4  # above this share of the rows, scoring all of a part and choosing is faster than gathering


class CubeIndex:
    """Rows of one cube and everything that scores them.

    Hold `lock` from `catch_up` until you have used what you asked for: row numbers change when parts are merged.

    Args:
        store: the truth it follows.
        cube: whose rows.
        folder: where its segments lie; None keeps it in memory.
        embedder: identity of the embedder that made the vectors; "" for none.
        dims: length of a vector; 0 without an embedder.
        token_dims: length of a token vector; 0 where there are none.
        flush_rows: how many rows the tail may have before it is written to a segment.
    """

    def __init__(
        self,
        store: RecordStore,
        cube: CubeRow,
        *,
        folder: Path | None = None,
        embedder: str = "",
        dims: int = 0,
        token_dims: int = 0,
        flush_rows: int = FLUSH_ROWS,
    ) -> None:
        self.lock = threading.RLock()
        self.cube = cube
        self.embedder = embedder
        self.dims = dims
        self.token_dims = token_dims
        self.analyzer = Analyzer()
        self._store = store
        self._flush_rows = flush_rows
        belongs = {"store": store.id, "cube": str(cube.number), "embedder": embedder}
        belongs |= {"analysis": ANALYSIS_VERSION, "format": FORMAT, "dims": f"{dims} {token_dims}"}
        self._files = CubeFiles(folder, belongs) if folder is not None else None
        self._token: int | None = None
        self._now: dict[tuple[str | None, bool], Moment] = {}  # by reader, and whether what has expired is left out
        self._seq = self._clean = 0
        self._load()

    # -- following the log ----------------------------------------------------------------------------------------

    @property
    def seq(self) -> int:
        """Number of the last change that it has applied."""
        return self._seq

    def catch_up(self) -> None:
        """Apply what has been committed since; microseconds where nothing has."""
        with self.lock:
            token = self._store.change_token()
            if token == self._token:
                return
            if self._lineage != self._store.lineage():
                self._load()
            head, erased = self._store.reached(self.cube)
            if head < self._seq:  # the truth has gone back, to an older copy
                self._load()
            if erased > self._clean:  # what is here was made from bytes that are gone from the truth
                self.forget(erased)
            if self._seq < head:
                with event("memos.catch_up", cube=self.cube.name, after=self._seq, until=head):
                    while self._seq < head:
                        self._follow(head)
            self._token = token

    def _follow(self, head: int) -> None:
        """Apply changes up to a number, or until the index starts anew from the segments of another process."""
        seq = self._seq
        for piece in self._store.changes(self.cube, seq, head):
            try:
                self._apply(piece)
            except BaseException:
                self._load()  # half of a piece may be in; what was applied before is taken from files, or applied again
                raise
            seq = self._seq
            if len(self._tail) >= self._flush_rows:
                self._flush()
                if self._seq != seq:
                    return

    def forget(self, erased: int) -> None:
        """Start anew after an erasure, from files that were made since (by another process) or from the truth.

        Args:
            erased: number of the change that erased.
        """
        with self.lock:
            if self._files is not None:
                self._files.clear_before(erased)
            self._load()
            self._clean = max(self._clean, erased)

    def flush(self) -> None:
        """Write what is worth it to files, so that the next opening is fast."""
        with self.lock:
            if len(self.table) >= SMALL_ROWS and len(self._tail):
                self._flush()

    def drop(self) -> None:
        """Forget everything, files too; the next `catch_up` starts from the first change."""
        with self.lock:
            if self._files is not None:
                self._files.clear()
            self._load()

    def _load(self) -> None:
        """Start from what the folder holds."""
        self._token = None
        self._lineage = self._store.lineage()
        self._now = {}
        self.table = RowTable()
        self.threads = Threads(self.table)
        self.parts: list[Part] = []
        self._seq = 0
        self._clean = 0  # number of the newest erasure that all of it was made after
        if self._files is not None:
            self.parts.extend(self._files.load(self.table, lambda seq: self._store.digest(self.cube, seq)))
            self._seq = self._files.manifest.seq
            self._clean = self._files.manifest.clean
            self.threads.forget()
        self._people = People()
        self._name_stems: tuple[tuple[int, tuple[str, ...]], frozenset[str]] = ((0, ()), frozenset())
        self._people.extend(self.table.speakers.names)
        self._languages = dict(self._files.manifest.languages) if self._files else {}  # with the first change of each
        self._tail = Tail(len(self.table), self.dims, self.token_dims)
        self.parts.append(self._tail)
        self.fields = FieldColumns(self._store, self.cube, self.table)

    def _flush(self) -> None:
        if self._files is None:
            return
        if self._files.newer(self._files.manifest.seq):  # another process has written since: go on from its segments
            self._load()
            return
        erased = self._store.reached(self.cube)[1]
        if erased > self._clean:  # nothing of what was erased may reach a file
            self.forget(erased)
            return
        digest = self._store.digest(self.cube, self._seq)
        try:
            saved = self._files.save(self.table, self.parts, self._seq, self._clean, digest, self._languages)
        except SegmentRefused:  # our own segments are gone: another process has dropped the index
            self._load()
            return
        if saved is None:
            return
        order, parts = saved
        self.table.reorder(order)
        self.fields.reorder(order)
        self.threads.reorder(order)
        self._tail = Tail(len(self.table), self.dims, self.token_dims)
        self.parts = [*parts, self._tail]
        self._now = {}

    def _apply(self, piece: Sequence[tuple[Record, VectorBlobs | None]]) -> None:
        self._now = {}
        self._check_lengths(piece)
        first = len(self.table)
        ended: list[tuple[int, int]] = []
        replaces: dict[int, int] = {}
        made: list[tuple[Record, Body]] = []
        dense: list[bytes | None] = []
        tokens: list[bytes | None] = []
        for record, blobs in piece:
            if record.prev:
                ended.append((record.prev, record.seq))
            if record.body is None or record.text is None:
                continue
            if record.prev:
                replaces[first + len(made)] = record.prev
            made.append((record, record.body))
            dense.append(blobs.dense if blobs else None)
            tokens.append(blobs.tokens if blobs else None)
        texts = self.analyzer.analyze_all(
            [indexed_text(record.text or "", body.context) if body.indexed else "" for record, body in made]
        )
        for language, (record, body) in zip(texts.languages, made, strict=True):
            if language is not None:
                said = language if body.private_to is None else f"{language}\x00{body.private_to}"
                self._languages.setdefault(said, record.seq)
        self.table.extend({**self._columns(made), "length": texts.lengths})
        self._tail.add(texts, dense, tokens)
        self._end(ended, replaces)
        self._seq = piece[-1][0].seq

    def _check_lengths(self, piece: Sequence[tuple[Record, VectorBlobs | None]]) -> None:
        for record, blobs in piece:
            if blobs is None or not self.dims:
                continue
            if len(blobs.dense) != 4 * self.dims:
                raise self._unusable(record.seq, blobs.dense)
            if blobs.tokens and self.token_dims and len(blobs.tokens) % (self.token_dims // 2):
                raise self._unusable(record.seq, blobs.tokens)

    def _unusable(self, seq: int, dense: bytes) -> EmbedderMismatch:
        return EmbedderMismatch(
            f"the vector of change {seq} in cube {self.cube.name!r} has {len(dense) / 4:g} dimensions, the store's had "
            f"{self.dims}: another process has replaced them (open the store anew), or the store is damaged (memos verify)"
        )

    def _end(self, ended: list[tuple[int, int]], replaces: dict[int, int]) -> None:
        """Give the new rows their places, and end those that have a newer version."""
        table = self.table
        known = {row: old for row, prev in replaces.items() if (old := table.row_of(prev)) != NONE}
        self.threads.add(known)
        replaced = set(known.values())
        for prev, _ in ended:
            old = table.row_of(prev)
            if old != NONE and old not in replaced:
                self.threads.remove(old)
        if ended:
            table.end(np.array([prev for prev, _ in ended]), np.array([at for _, at in ended]))

    def _columns(self, made: list[tuple[Record, Body]]) -> dict[str, NDArray[Any]]:
        """The columns of new rows, except `length`."""
        speakers, saliences = [], []
        for record, body in made:  # one after the other: whose names are known is what was said up to there
            speakers.append(self._speaker(body.source.speaker if body.source and body.private_to is None else None))
            saliences.append(salience(record.text or "", self._people.words))
        conversation, reader = self.table.conversations.number, self.table.readers.number
        values: dict[str, list[Any]] = {
            "seq": [record.seq for record, _ in made],
            "until": [ALIVE] * len(made),
            "item": [record.item for record, _ in made],
            "state": [STATES.index(record.state) for record, _ in made],
            "indexed": [body.indexed for _, body in made],
            "conversation": [conversation(body.conversation) for _, body in made],
            "position": [_position(record, body) for record, body in made],
            "speaker": speakers,
            "occurred": [ABSENT_TIME if body.occurred_at is None else micros(body.occurred_at) for _, body in made],
            "created": [record.created for record, _ in made],
            "updated": [record.at for record, _ in made],
            "vectors_of": [record.vectors_of for record, _ in made],
            "salience": saliences,
            "timed": [body.mentions.says_time or has_number(record.text or "") for record, body in made],
            "expires": [NEVER if body.expires_at is None else micros(body.expires_at) for _, body in made],
            "private": [reader(body.private_to) for _, body in made],
        }
        return {name: np.array(column, dtype=COLUMNS[name]) for name, column in values.items()}

    def _speaker(self, name: str | None) -> int:
        number = self.table.speakers.number(name)
        self._people.extend(self.table.speakers.names[len(self._people) :])
        return number

    # -- asking ---------------------------------------------------------------------------------------------------

    def moment(self, as_of: int | None = None, look: Look = EVERYTHING, *, unindexed: bool = False) -> Moment:
        """The rows that can be found now, or could after change `as_of`; with `unindexed`, also those only listed."""
        if as_of is not None and as_of >= self._seq:
            as_of = None
        if as_of is not None or unindexed or look.states != FINDABLE:
            return moment(self.table, self.threads, as_of, look, unindexed=unindexed)
        at = look.at
        key = (look.reader if self.table.readers.names else None, at is None)
        known = self._now.get(key)
        if known is None or not (at is None or known.since <= at < known.until):
            if len(self._now) >= _MOST_READERS:
                self._now.clear()
            known = self._now[key] = moment(self.table, self.threads, None, look)
        return known

    def matching(self, where: Filter | None, rows: Rows) -> Rows:
        """Those of these rows that fulfil a filter."""
        return rows if where is None else rows[filter_mask(where, rows, self.fields)]

    def holding(self, term: str, at: Moment) -> tuple[Rows, Counts]:
        """The rows of a moment that hold a term, and how often."""
        wanted = term_hash(term)
        return self._held([(part, part.postings.lookup(wanted)) for part in self.parts], at)

    def holding_name(self, name: int, at: Moment) -> tuple[Rows, Counts]:
        """As `holding`, for a term by its name (`terms`)."""
        return self._held([(part, part.postings.named(name)) for part in self.parts], at)

    @staticmethod
    def _held(found: list[tuple[Part, tuple[NDArray[np.int32], Counts] | None]], at: Moment) -> tuple[Rows, Counts]:
        rows, counts = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.uint8)]
        for part, postings in found:
            if postings is not None:
                own = postings[0].astype(np.int64) + part.start
                there = at.mask[own]
                rows.append(own[there])
                counts.append(postings[1][there])
        return np.concatenate(rows), np.concatenate(counts)

    def terms(self, row: int) -> NDArray[np.uint32]:
        """Names of the distinct terms of a row."""
        for part, low, _ in self._by_part(np.array([row], dtype=np.int64)):
            places, _ = part.terms.places(np.array([row - part.start + low], dtype=np.int64))
            names: NDArray[np.uint32] = part.terms.entries["names"][places]
            return names
        return np.zeros(0, dtype=np.uint32)

    def heavy(self, row: int) -> tuple[bytes, ...]:
        """Everything of a row beside its columns, to compare: vectors, token vectors, terms with their counts."""
        (part,) = (part for part in self.parts if part.start <= row < part.start + len(part))
        own = np.array([row - part.start], dtype=np.int64)
        names = np.sort(self.terms(row))
        counts = []
        for name in names.tolist():
            held = part.postings.named(name)
            counts.append(0 if held is None else int(held[1][held[0] == own[0]].sum()))
        codes = part.tokens.entries["codes"][part.tokens.places(own)[0]]
        vector = part.codes[own].tobytes() + part.scales[own].tobytes() + part.errors[own].tobytes()
        return vector, codes.tobytes(), names.tobytes(), np.array(counts).tobytes()

    def people(self, at: Moment) -> People:
        """The speakers that were known at a moment."""
        if at.as_of is None:
            return self._people
        if at.people is None:
            spoken = np.unique(self.table["speaker"][self.table["seq"] <= at.as_of])
            at.people = self._people.only(spoken[spoken != NONE].tolist())
        return at.people

    def languages(self, at: Moment) -> list[str]:
        """The languages that texts had been found to be in at a moment."""
        found = set()
        for said, first in self._languages.items():
            name, _, reader = said.partition("\x00")
            if (at.as_of is None or first <= at.as_of) and (not reader or at.reader in (None, reader)):
                found.add(name)
        return sorted(found)

    def name_stems(self, at: Moment) -> frozenset[str]:
        """The terms under which words of speakers' names are stored."""
        people, languages = self.people(at), self.languages(at)
        key = (len(people.words), tuple(languages))
        if at.as_of is None and key == self._name_stems[0]:
            return self._name_stems[1]
        found = [self.analyzer.query(word, languages) for word in people.words]
        stems = frozenset(each for terms in found for term in terms for each in term.terms)
        if at.as_of is None:
            self._name_stems = (key, stems)
        return stems

    def rarity(self, rows: Rows, at: Moment) -> Floats:
        """How rare the words of each of these rows (ascending) are in this cube, 0 … 1; 0 for rows without words.

        The mean inverse document frequency of a row's distinct terms, over that of a word nobody has said. It counts every
        version made up to the moment, so that it is the same whenever it is asked.
        """
        if at.rarity is None:
            at.rarity = np.full(len(self.table), np.nan, dtype=np.float32)
        known = at.rarity
        fresh = rows[np.isnan(known[rows])]
        if len(fresh):
            known[fresh] = self._rarity(fresh, at)
        return known[rows]

    def rareness(self, names: NDArray[np.uint32], at: Moment) -> NDArray[np.float64]:
        """How rare each of these terms (by name, ascending) is among all versions made up to the moment, 0 … 1."""
        born = 0
        held = np.zeros(len(names), dtype=np.int64)
        for part in self.parts:
            until = len(part)
            if at.as_of is not None:
                seqs = self.table["seq"][part.start : part.start + len(part)]
                until = int(np.searchsorted(seqs, at.as_of, side="right"))
            born += int(self.table["indexed"][part.start : part.start + until].sum())
            held += part.postings.held(names, until)
        if len(at.hidden):
            shown = at.hidden[self.table["indexed"][at.hidden] == 1]
            born -= len(shown)
            held -= self._held_by(shown, names)
        return np.asarray(idf(held, born) / idf(np.zeros(1), born))

    def _held_by(self, rows: Rows, names: NDArray[np.uint32]) -> NDArray[np.int64]:
        """How many of these rows (ascending) hold each of these terms (by name, ascending)."""
        counts = np.zeros(len(names), dtype=np.int64)
        for part, low, high in self._by_part(rows):
            places, _ = part.terms.places(rows[low:high] - part.start)
            own = part.terms.entries["names"][places]
            at = np.searchsorted(names, own)
            there = at < len(names)
            there[there] = names[at[there]] == own[there]
            counts += np.bincount(at[there], minlength=len(names))
        return counts

    def _rarity(self, rows: Rows, at: Moment) -> Floats:
        names, begins = [], []
        start = 0
        for part, low, high in self._by_part(rows):
            places, own = part.terms.places(rows[low:high] - part.start)
            names.append(part.terms.entries["names"][places])
            begins.append(own + start)
            start += len(places)
        each, codes = np.unique(np.concatenate(names), return_inverse=True)
        if not len(each):
            return np.zeros(len(rows), dtype=np.float32)
        weights = self.rareness(each, at)[codes]
        edges = np.append(np.concatenate(begins), start)
        counts = np.diff(edges)
        filled = np.flatnonzero(counts)
        means = np.zeros(len(rows), dtype=np.float32)
        means[filled] = np.add.reduceat(weights, edges[:-1][filled]) / counts[filled]
        return means

    def cosines(self, query: QueryVector, rows: Rows) -> Floats:
        """Cosine of each of these rows (ascending) with the query, from the int8 vectors."""
        scores = np.zeros(len(rows), dtype=np.float32)
        for part, low, high in self._by_part(rows):
            if high - low == len(part):  # all of it, in order
                scores[low:high] = _part_cosines(query, part, None)
            elif high - low > _SCAN * len(part):
                scores[low:high] = _part_cosines(query, part, None)[rows[low:high] - part.start]
            else:
                scores[low:high] = _part_cosines(query, part, rows[low:high] - part.start)
        return scores

    def token_matches(self, rows: Rows, question: Floats) -> Floats:
        """For each of these rows (ascending) and token of the question the best cosine of a token: (rows, tokens)."""
        matches = np.zeros((len(rows), len(question)), dtype=np.float32)
        for part, low, high in self._by_part(rows):
            matches[low:high] = best_matches(part.tokens, rows[low:high] - part.start, question)
        return matches

    @property
    def abilities(self) -> Abilities:
        """Exact, and it waits for nobody outside."""
        return Abilities()

    def nearest(
        self,
        vector: Floats,
        count: int,
        *,
        among: Sequence[int] | None = None,
        as_of: int | None = None,
        deadline: float | None = None,
    ) -> Nearest[tuple[int, float]]:
        """The nearest items by exact cosine: (number of the change that made the version, cosine), best first.

        Args:
            vector: (dims,).
            among: only these changes; None for all of the moment.
            as_of: as it was after this change; None for now.
            deadline: nobody is waited for.

        Raises:
            WrongDimension: the vector is of another length than the index's.
        """
        if len(vector) != self.dims:
            raise WrongDimension(f"the query's vector has {len(vector)} dimensions, the store's have {self.dims}")
        with self.lock:
            self.catch_up()
            rows = self.moment(as_of).rows
            if among is not None:
                rows = np.intersect1d(rows, self.table.rows_of(np.array(among, dtype=np.int64)))
            return Nearest(self.nearest_rows(vector, rows, count))

    def nearest_rows(self, vector: Floats, rows: Rows, count: int) -> list[tuple[int, float]]:
        """As `nearest`, among these rows (ascending) of an index that is caught up and locked."""
        query = QueryVector(vector)
        if not len(rows) or count < 1:
            return []
        error = max(part.max_error for part in self.parts) + _ROUNDING
        candidates = _within(rows, self.cosines(query, rows), count, error + query.error * (1 + error))
        # The error of the question's own quantisation is gone when its exact vector is multiplied: fewer are left to read.
        candidates = _within(candidates, self._half_exact(query, candidates), count, error)
        seqs = self.table["seq"][candidates]
        vectors_of = self.table["vectors_of"][candidates]
        exact = np.zeros(len(candidates), dtype=np.float32)
        there = np.flatnonzero(vectors_of)
        # row by row: a matrix product may round equal rows differently, and equal rows must tie
        exact[there] = np.einsum("nd,d->n", self._stored_vectors(vectors_of[there]), query.exact)
        order = np.lexsort((seqs, -exact))[:count]
        return [(int(seqs[place]), float(exact[place])) for place in order]

    def _stored_vectors(self, seqs: Rows) -> Floats:
        """The float32 vectors (changes, dims) that these changes have stored."""
        stored = self._store.dense_vectors(self.cube, seqs.tolist())
        for seq in seqs.tolist():
            if len(stored.get(seq, b"")) != 4 * self.dims:
                raise self._unusable(seq, stored.get(seq, b""))
        joined = b"".join(stored[seq] for seq in seqs.tolist())
        return np.frombuffer(joined, dtype="<f4").reshape(len(seqs), self.dims)

    def _half_exact(self, query: QueryVector, rows: Rows) -> Floats:
        """Cosine of each of these rows (ascending) as quantised with the exact query."""
        scores = np.zeros(len(rows), dtype=np.float32)
        for part, low, high in self._by_part(rows):
            own = rows[low:high] - part.start
            scores[low:high] = (part.codes[own].astype(np.float32) @ query.exact) * part.scales[own]
        return scores

    def _by_part(self, rows: Rows) -> Iterable[tuple[Part, int, int]]:
        """Each part with the slice of these rows (ascending) that it holds."""
        for part in self.parts:
            low, high = np.searchsorted(rows, (part.start, part.start + len(part)))
            if low < high:
                yield part, int(low), int(high)

    @property
    def nbytes(self) -> int:
        """Bytes of memory, roughly (mapped files not counted)."""
        return self.table.nbytes + self._tail.nbytes + self.fields.nbytes

    def stats(self) -> dict[str, object]:
        """What it holds: rows, living rows, segments, bytes of memory, languages, last change."""
        with self.lock:
            return {
                "seq": self._seq,
                "rows": len(self.table),
                "findable": len(self.moment().rows),
                "segments": len(self.parts) - 1,
                "memory_bytes": self.nbytes,
                "languages": sorted({said.partition("\x00")[0] for said in self._languages}),
            }


def _part_cosines(query: QueryVector, part: Part, rows: Rows | None) -> Floats:
    """Approximate cosines of rows of a part (None: of all) with a query."""
    if not vectors.SIMD:
        unpacked = part.unpacked
        return np.asarray((unpacked if rows is None else unpacked[rows]) @ query.exact, dtype=np.float32)
    if rows is None:
        return query.first_pass(part.codes, part.scales)
    return query.first_pass(part.codes[rows], part.scales[rows])


def _within(rows: Rows, scores: Floats, count: int, error: float) -> Rows:
    """Those rows that can be among the best, when each score may be off by so much."""
    kth = float(scores[best(scores, count)[-1]])
    chosen: Rows = rows[scores >= kth - 2 * error]
    return chosen


def _position(record: Record, body: Body) -> int:
    """Where it stands in its conversation or document: as given, else where it came in."""
    source = body.source
    return record.seq if source is None or source.position is None else source.position


def indexed_text(text: str, context: str) -> str:
    """The words under which an item is found, and whose meaning its vectors hold: its own, and where it stands."""
    said = text.replace(IMAGE_MARK, "[") if IMAGE_MARK in text else text  # a mark of reading, not a word of anybody
    return f"{context}\n{said}" if context else said
