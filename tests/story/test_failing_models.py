"""If this fails, a model that breaks down shows its own error somewhere deep, and nobody knows that nothing was stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from memos_core import MOS
from memos_core.errors import EmbeddingFailed


class Moody:
    """An embedder of the application's own that can break down."""

    identity = "moody:4"
    dims = 4
    works = True

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        if not self.works:
            raise ConnectionResetError("the line is dead")
        return np.ones((len(texts), 4), dtype=np.float32)

    def embed_query(self, text: str) -> np.ndarray:
        return self.embed([text])[0]


def test_what_the_model_raised_is_said_and_nothing_is_stored() -> None:
    moody = Moody()
    with MOS.open(":memory:", embedder=moody) as mos:
        alice = mos.session("alice")
        alice.add("a fact")
        moody.works = False
        with pytest.raises(EmbeddingFailed, match="moody:4 failed: ConnectionResetError: the line is dead") as caught:
            alice.add("another")
        assert isinstance(caught.value.__cause__, ConnectionResetError)
        with pytest.raises(EmbeddingFailed):
            alice.search("a fact")
        with pytest.raises(EmbeddingFailed):
            alice.update(alice.list()[0].id, text="changed")
        moody.works = True
        assert [item.text for item in alice.list()] == ["a fact"]
        assert alice.search("a fact")[0].text == "a fact"


def test_a_store_is_not_begun_with_a_model_that_is_out_of_order() -> None:
    moody = Moody()
    moody.works = False
    with MOS.open(":memory:", embedder=moody) as mos:
        with pytest.raises(EmbeddingFailed):
            mos.session("alice").add("a fact")
        assert mos.cubes() == []
