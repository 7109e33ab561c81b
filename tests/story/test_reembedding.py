"""If these fail, changing the embedding model loses memories, mixes vectors of two models, or starts from nothing each time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from telling import started, texts, wait_for

from memos_core import MOS
from memos_core.errors import Conflict, EmbedderMismatch, EmbeddingFailed
from memos_core.models.hashing import HashingEmbedder
from memos_core.plaintext.embedding import Embedding
from memos_core.protocols.models import Embedder

OLD, NEW = "hashing:128", "hashing:256"
QUESTION = "who moved to Lisbon?"
ANSWER = "Ann moved to Lisbon in May."


def fail(own: Watched, texts: Sequence[str]) -> None:
    """On the third call for memories: the first measures the model."""
    if sum(text.startswith("note") for text in own.seen) > 100:
        raise EmbeddingFailed("out of credit")


class Watched(HashingEmbedder):
    """The same vectors as the hashing embedder's of that size; somebody looks on, and may stop it."""

    def __init__(self, dims: int, look: Callable[[Watched, Sequence[str]], None] = lambda own, texts: None) -> None:
        super().__init__(dims)
        self.seen: list[str] = []
        self._look = look

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self._look(self, texts)
        self.seen.extend(texts)
        return super().embed(texts)


def filled(folder: Path | str, count: int = 150, embedder: object = OLD) -> MOS:
    mos = MOS.open(folder, embedder=embedder)
    alice = mos.session("alice")
    alice.add([ANSWER, *(f"note {number}" for number in range(count - 1))])
    return mos


def check(mos: MOS, embedder: HashingEmbedder, *, items: int) -> None:
    """All vectors are those of an embedder: looked at from outside, and by verify."""
    assert mos.verify() == []
    assert mos.stats()["embedder"] == embedder.identity
    alice = mos.session("alice")
    hits = alice.search(QUESTION)
    assert hits[0].text == ANSWER
    assert hits.degraded is None
    listed = alice.list(limit=1000)
    assert len(listed) == items
    cube = mos.cube("alice")
    for item in listed[:: max(1, items // 20)]:
        (best, cosine), *_ = cube.nearest(embedder.embed_query(item.text), 1)
        assert cosine == pytest.approx(1, abs=1e-4)
        assert best.text == item.text


def test_another_embedder_is_refused_and_the_way_out_is_named(tmp_path: Path) -> None:
    filled(tmp_path, 3).close()
    with pytest.raises(EmbedderMismatch, match=r"'hashing:1:128'.*'hashing:1:256'.*memos reembed"):
        MOS.open(tmp_path, embedder=NEW)
    with MOS.open(tmp_path) as mos:
        check(mos, HashingEmbedder(128), items=3)
        assert mos.reembed(NEW) == 3
        check(mos, HashingEmbedder(256), items=3)
    with pytest.raises(EmbedderMismatch, match=r"'hashing:1:256'.*'hashing:1:128'"):
        MOS.open(tmp_path, embedder=OLD)
    for again in (NEW, None, HashingEmbedder(256)):
        with MOS.open(tmp_path, embedder=again) as mos:
            check(mos, HashingEmbedder(256), items=3)


def test_every_version_gets_new_vectors_and_the_past_can_be_asked(tmp_path: Path) -> None:
    with filled(tmp_path, 3) as mos:
        alice = mos.session("alice")
        id = alice.search(QUESTION)[0].id
        alice.update(id, text="Ann lives in Porto.")
        alice.update(id, tags=["x"])
        gone = alice.add("Bob moved to Faro.").id
        alice.delete(gone)
        hidden = alice.add("the code is 4711", indexed=False).id
        before = alice.stats()["cubes"]["alice"]
        moment = before["changes"]
        assert mos.reembed(NEW) == 5
        after = alice.stats()["cubes"]["alice"]
        assert {**before, "index": 0} == {**after, "index": 0}
        assert alice.search(QUESTION, as_of=3)[0].text == ANSWER
        assert alice.search("Ann lives in Porto.", as_of=moment)[0].parts["dense"] > 0
        alice.restore(gone)
        alice.update(hidden, indexed=True)
        alice.rollback(id, 1)
        check(mos, HashingEmbedder(256), items=5)


def test_progress_goes_from_nothing_to_all(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with filled(tmp_path) as mos:
        mos.session("alice").add("x", indexed=False)
        assert mos.reembed(NEW, progress=lambda done, of: told.append((done, of))) == 150
    assert told[0][0] == 0
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1][0] == 150
    assert {of for _, of in told} <= {150, 151}


def test_a_model_that_fails_half_way_changes_nothing_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with filled(tmp_path) as mos:
        failing, working = Watched(256, fail), Watched(256)
        with pytest.raises(EmbeddingFailed, match="out of credit"):
            mos.reembed(failing)
        check(mos, HashingEmbedder(128), items=150)
        mos.session("alice").add("added between the two runs")
        assert mos.reembed(working) == 151 - len(
            kept := {each for each in failing.seen if each.startswith(("note", "Ann"))}
        )
        assert not kept & set(working.seen)
        check(mos, HashingEmbedder(256), items=151)


_KILLED = """
    import sys
    from memos_core import MOS
    from memos_core.models.hashing import HashingEmbedder

    class Slow(HashingEmbedder):
        calls = 0

        def embed(self, texts):
            Slow.calls += 1
            if Slow.calls == 4:
                print("half way", flush=True)
                sys.stdin.readline()
            return super().embed(texts)

    with MOS.open(sys.argv[1]) as mos:
        mos.reembed(Slow(256))
"""


def test_killed_half_way_nothing_is_lost_and_the_next_run_goes_on(tmp_path: Path) -> None:
    filled(tmp_path).close()
    process = started(_KILLED, tmp_path)
    wait_for(process, "half way")
    process.kill()
    process.communicate()
    with MOS.open(tmp_path) as mos:
        check(mos, HashingEmbedder(128), items=150)
        mos.session("alice").add("added before the next run")
        embedder = Watched(256)
        assert 0 < mos.reembed(embedder) < 100
        assert "added before the next run" in embedder.seen
        check(mos, HashingEmbedder(256), items=151)


def test_what_was_staged_for_another_model_is_not_used(tmp_path: Path) -> None:
    with filled(tmp_path) as mos:
        with pytest.raises(EmbeddingFailed):
            mos.reembed(Watched(192, fail))
        assert mos.reembed(NEW) == 150
        check(mos, HashingEmbedder(256), items=150)


def test_adding_and_searching_go_on_meanwhile(tmp_path: Path) -> None:
    with filled(tmp_path) as mos:
        alice = mos.session("alice")
        added: list[str] = []
        begun, finish = threading.Event(), threading.Event()

        def work() -> None:
            begun.wait(60)
            while len(added) < 5 or not finish.is_set():
                added.extend(alice.add(f"meanwhile {len(added)}").ids)
                assert alice.search(QUESTION)[0].text == ANSWER
                alice.update(added[-1], text=f"changed {len(added)}")

        def look(own: Watched, texts: Sequence[str]) -> None:
            begun.set()

        thread = threading.Thread(target=work)
        thread.start()
        mos.reembed(Watched(256, look))
        finish.set()
        thread.join(60)
        assert not thread.is_alive()
        assert len(added) >= 5
        check(mos, HashingEmbedder(256), items=150 + len(added))


def test_it_ends_although_somebody_adds_all_the_time(tmp_path: Path) -> None:
    with filled(tmp_path) as mos:
        alice = mos.session("alice")
        added: list[str] = []
        going = True

        def look(own: Watched, texts: Sequence[str]) -> None:
            if going and not mos._embedding.replacing.locked():  # then writers wait
                added.extend(alice.add(f"once more {len(added)}").ids)

        mos.reembed(Watched(256, look))
        going = False
        assert len(added) > 3
        check(mos, HashingEmbedder(256), items=150 + len(added))


@pytest.mark.parametrize("change", ["add", "update"])
def test_who_writes_in_the_very_moment_of_the_switch_is_not_turned_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """New vectors are in the store, and this process has not yet noted whose they are."""
    with filled(tmp_path, 3) as mos:
        alice = mos.session("alice")
        id = alice.add("before").id
        switched, refused = threading.Event(), threading.Event()
        rebind = Embedding.rebind
        said: list[object] = []

        def slowly(own: Embedding, embedder: Embedder | None, spec: str) -> None:
            switched.set()
            refused.wait(0.3)
            rebind(own, embedder, spec)

        def look(own: Watched, texts: Sequence[str]) -> None:
            """Embeds with the old model, commits after the switch."""
            if texts[0] in ("written", "changed"):
                embedded.set()
                switched.wait(60)

        def write() -> None:
            try:
                said.append(alice.add("written") if change == "add" else alice.update(id, text="changed"))
            except EmbedderMismatch as error:
                said.append(error)
                refused.set()

        monkeypatch.setattr(Embedding, "rebind", slowly)
        embedded = threading.Event()
        mos.reembed(Watched(128, look))  # the same size: a model that can be looked at
        switched.clear()
        thread = threading.Thread(target=write)
        thread.start()
        assert embedded.wait(60)
        mos.reembed(NEW)
        thread.join(60)
        assert not isinstance(said[0], Exception)
        check(mos, HashingEmbedder(256), items=5 if change == "add" else 4)


@pytest.mark.parametrize("ask", ["search", "list"])
def test_who_reads_in_the_very_moment_of_the_switch_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    with filled(tmp_path, 3) as mos:
        alice = mos.session("alice")
        refused = threading.Event()
        rebind = Embedding.rebind
        said: list[object] = []

        def read() -> None:
            try:
                said.append(alice.search(QUESTION) if ask == "search" else alice.list())
            except EmbedderMismatch as error:
                said.append(error)
                refused.set()

        thread = threading.Thread(target=read)

        def slowly(own: Embedding, embedder: Embedder | None, spec: str) -> None:
            thread.start()
            refused.wait(0.3)
            rebind(own, embedder, spec)

        monkeypatch.setattr(Embedding, "rebind", slowly)
        mos.reembed(NEW)
        thread.join(60)
        assert not isinstance(said[0], Exception)
        assert ANSWER in texts(said[0])  # type: ignore[arg-type]


def test_of_two_that_fill_an_empty_store_with_two_models_one_is_told(tmp_path: Path) -> None:
    with MOS.open(tmp_path, embedder="hashing:192") as other:

        def look(own: Watched, texts: Sequence[str]) -> None:
            """While the model is measured, before anything is written: the other one is faster."""
            other.session("bob").add(ANSWER)

        with MOS.open(tmp_path, embedder=Watched(128, look)) as mos:
            with pytest.raises(EmbedderMismatch, match="'hashing:1:192'"):
                mos.session("alice").add("too late")
            assert [info.name for info in mos.cubes()] == ["bob"]
    with MOS.open(tmp_path) as again:
        assert again.stats()["embedder"] == "hashing:1:192"
        assert again.verify() == []


def test_another_process_is_told_to_open_anew_and_loses_nothing(tmp_path: Path) -> None:
    """Two stores open on one folder stand in for two processes: they share nothing but the files."""
    with filled(tmp_path, 5) as mos, MOS.open(tmp_path) as other:
        theirs = other.session("alice")
        added: list[str] = []

        def look(own: Watched, texts: Sequence[str]) -> None:
            if len(added) < 3:
                added.extend(theirs.add(f"by the other, {len(added)}").ids)

        mos.reembed(Watched(256, look))
        assert len(added) == 3
        for attempt in (
            lambda: theirs.add("too late"),
            lambda: theirs.update(added[0], text="too late"),
            lambda: theirs.search(QUESTION),
            theirs.list,
        ):
            with pytest.raises(EmbedderMismatch, match="open it anew"):
                attempt()
        check(mos, HashingEmbedder(256), items=5 + len(added))
        assert {item.id for item in mos.session("alice").list()} >= set(added)
    with MOS.open(tmp_path, embedder=NEW) as again:
        assert again.session("alice").add("in time").new


def test_of_two_runs_with_two_models_one_is_told(tmp_path: Path) -> None:
    with filled(tmp_path) as mos, MOS.open(tmp_path) as other:

        def look(own: Watched, texts: Sequence[str]) -> None:
            if own.seen and "note 0" not in own.seen:  # between measuring and the first batch
                other.reembed(Watched(192))

        with pytest.raises(Conflict, match="overtaken"):
            mos.reembed(Watched(256, look))
    with MOS.open(tmp_path, embedder=HashingEmbedder(192)) as mos:
        check(mos, HashingEmbedder(192), items=150)


def test_back_to_words_and_to_a_model_again(tmp_path: Path) -> None:
    with filled(tmp_path, 5) as mos:
        assert mos.reembed(None) == 0
        alice = mos.session("alice")
        hits = alice.search(QUESTION)
        assert hits[0].text == ANSWER
        assert hits.degraded == "no embedder: lexical search only"
        assert alice.stats()["cubes"]["alice"]["vectors"] == 0
        assert mos.verify() == []
        alice.add("written without a model")
    with MOS.open(tmp_path) as mos:
        assert mos.stats()["embedder"] is None
        assert mos.reembed(NEW) == 6
        check(mos, HashingEmbedder(256), items=6)
    with MOS.open(tmp_path) as mos:
        check(mos, HashingEmbedder(256), items=6)


def test_a_model_of_the_same_name_with_other_vectors_replaces_them_everywhere(tmp_path: Path) -> None:
    """A model that was repaired: indexes made from the old vectors are of no use, in memory and in files."""

    class Repaired(HashingEmbedder):
        def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return super().embed(texts)[:, ::-1].copy()

    with filled(tmp_path, 5, embedder=HashingEmbedder(256)) as mos:
        check(mos, HashingEmbedder(256), items=5)
        with MOS.open(tmp_path, embedder=HashingEmbedder(256)) as other:
            assert other.session("alice").search(QUESTION)
            assert mos.reembed(Repaired(256)) == 5
            with pytest.raises(EmbedderMismatch, match="open it anew"):
                other.session("alice").search(QUESTION)
        check(mos, Repaired(256), items=5)
    with MOS.open(tmp_path, embedder=Repaired(256)) as mos:
        check(mos, Repaired(256), items=5)


def test_an_empty_store_takes_any_model(tmp_path: Path) -> None:
    MOS.open(tmp_path, embedder=OLD).close()  # nothing was written: nothing is remembered
    with MOS.open(tmp_path, embedder=NEW) as mos:
        assert mos.reembed(OLD) == 0
        mos.session("alice").add(ANSWER)
        check(mos, HashingEmbedder(128), items=1)
