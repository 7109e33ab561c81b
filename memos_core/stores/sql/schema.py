"""The tables, as queries name them. How they were made, with keys and indexes, is in `migrations/`.

A change has a number in its cube (`seq` 1, 2, 3, ...). Its place in the database is one integer, `position(cube, seq)`,
so the change log of a cube is one contiguous range of one B-tree in both databases, and an item's own number is the
place of its first version: no second sequence, nothing to ask the database for before writing.

`versions` IS the change log, and `batches` IS the audit chain: one row per transaction and cube, with a Merkle root over
the digests of the versions it wrote. `vectors` holds the vectors of the version at the same place.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Float, LargeBinary, TableClause, Text, column, table

SEQ_BITS = 40
_SEQ_MASK = (1 << SEQ_BITS) - 1


def position(cube: int, seq: int) -> int:
    """The place of change `seq` of cube `cube` in the database."""
    return cube << SEQ_BITS | seq


def seq_of(place: int) -> int:
    """The number of the change at a place."""
    return place & _SEQ_MASK


def cube_of(place: int) -> int:
    """The cube of the change at a place."""
    return place >> SEQ_BITS


def _table(name: str, integers: str = "", texts: str = "", blobs: str = "", floats: str = "") -> TableClause:
    return table(
        name,
        *(column(each, BigInteger) for each in integers.split()),
        *(column(each, Text) for each in texts.split()),
        *(column(each, LargeBinary) for each in blobs.split()),
        *(column(each, Float) for each in floats.split()),
    )


store = _table("store", texts="key value")
migrations = _table("migrations", integers="applied_at", texts="name")
cubes = _table(
    "cubes",
    integers="cube seq batches created changed base base_seq checkpointed erased",
    texts="name owner policy",
    blobs="chain",
)
items = _table("items", integers="item cube head version deleted dedup created", texts="id key")
versions = _table(
    "versions",
    integers="place item version prev batch vectors_of",
    texts="op state text body",
    blobs="salt digest",
)
vectors = _table("vectors", integers="place crc", blobs="dense tokens")
staged_vectors = _table("staged_vectors", integers="place crc", blobs="dense tokens")
conversations = _table("conversations", integers="cube next_position", texts="name")
links = _table("links", integers="cube item", texts="relation target", floats="weight")
batches = _table(
    "batches", integers="cube number first_seq last_seq at", texts="actor action", blobs="salt root hash sealed"
)
details = _table("details", integers="cube number", texts="detail", blobs="salt")
checkpoints = _table("checkpoints", integers="cube number at after", texts="key", blobs="hash signature")
jobs = _table(
    "jobs",
    integers="job cube waiting priority rank attempts max_attempts run_at every leased_until fence cancelling created started "
    "finished",
    texts="kind key lane state worker payload error result",
)
grants = _table("grants", integers="cube granted_at expires_at", texts="grantee rights granted_by")
holds = _table("holds", integers="cube at", texts="target reason placed_by")
usage = _table("usage", integers="item cube changed first_at last_at", floats="total newest")
working = _table(
    "working",
    integers="item cube half first_at last_at",
    texts="actor conversation cubes",
    floats="relevance predicted total newest",
)
