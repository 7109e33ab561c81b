"""If this fails, a store is filled with vectors of one kind and asked with vectors of another: nothing is found, or the wrong."""

from __future__ import annotations

from memos_core.models.hashing import HashingEmbedder
from memos_core.models.loading import load_embedder
from memos_core.protocols.models import Embedder
from memos_core.testing.embedder import EmbedderContract


class TestHashing(EmbedderContract):
    knows_meaning = False

    def make_embedder(self) -> Embedder:
        return HashingEmbedder()


class TestMiniLM(EmbedderContract):
    def make_embedder(self) -> Embedder:
        return load_embedder("minilm")[0]
