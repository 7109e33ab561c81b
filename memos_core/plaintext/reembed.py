"""Re-embedding: all vectors of a store made anew by another embedder, while it is in use, and resumable."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from itertools import count

import msgspec

from memos_core.plaintext.embedding import SETTING, Embedding, encode_all, measured_record
from memos_core.protocols.models import Embedder
from memos_core.protocols.storage import RecordStore
from memos_core.stores.index.cube_index import indexed_text
from memos_core.types.work import Body, VectorBlobs

Progress = Callable[[int, int], None]
_PASSES = 3  # over what has come in meanwhile, before the last of it is embedded while everybody waits
_BATCH = 64  # versions between two commits: what an interruption costs at most


def reembed(
    store: RecordStore, embedding: Embedding, embedder: Embedder | None, spec: str, progress: Progress | None = None
) -> int:
    """Give every version with words vectors of another embedder; returns how many this call embedded.

    New vectors are staged beside the old ones, batch by batch. When all are there, one transaction puts them in the place
    of the old ones and has the store remember the new embedder; until then nothing changes for anybody. A call that was
    interrupted is taken up by the next one with the same embedder; staged vectors of another embedder are thrown away.

    Args:
        store: whose vectors.
        embedding: the store's embedder, which goes on with the new one.
        embedder: None removes all vectors: search is lexical from then on.
        spec: the name it was loaded under; "" for an object.
        progress: called with (versions done, versions in all) at the start and after each batch; those that an interrupted
            call has left are among the done ones.

    Raises:
        Conflict: another re-embedding, with another embedder, has begun meanwhile, or has finished.
        EmbeddingFailed: the model failed; what was staged is kept for the next call.
    """
    record = msgspec.structs.replace(measured_record(embedder, spec), epoch=uuid.uuid4().hex[:16])
    value = msgspec.json.encode(record).decode()
    done = 0
    total, before = (0, 0) if embedder is None else store.stage(record.identity)
    if progress is not None and total:
        progress(before, total)

    def made(batch: Sequence[tuple[int, str, Body]]) -> Sequence[VectorBlobs]:
        assert embedder is not None
        return encode_all(embedder, [indexed_text(text, body.context) for _, text, body in batch], record.dims)

    for number in count(1):
        after: int | None = None if embedder is None else 0
        while after is not None and embedder is not None:
            batch, after = store.unstaged(record.identity, after, _BATCH)
            staged = [(place, blob) for (place, _, _), blob in zip(batch, made(batch), strict=True)]
            store.put_staged(record.identity, staged)
            done += len(batch)
            if progress is not None and batch:
                progress(before + done, total)
        with embedding.replacing:
            if store.switch_vectors(record.identity, SETTING, value, made if number >= _PASSES else None):
                embedding.rebind(embedder, spec)
                return done
    raise AssertionError("unreachable")
