"""If these fail, personal data is stored that must not be, or is shown to somebody who must not see it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memos_core import MOS, Actor, AsyncSession, Document, F, Message, Session
from memos_core.errors import AccessDenied, InvalidConfig, InvalidInput, StateConflict
from memos_core.types.cube_policy import CubePolicy
from tests.story.telling import texts

MAIL, CARD, PHONE = "otto.mueller@example.org", "4111 1111 1111 1111", "+351 912 345 678"
SAYING = f"Otto's mail is {MAIL}, his card is {CARD}."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def mos(folder: Path) -> Iterator[MOS]:
    with MOS.open(folder, embedder="hashing") as mos:
        mos.create_cube("desk", owner="alice")
        mos.share("desk", with_="bob", rights="write")
        mos.share("desk", with_="role:auditor", rights="read")
        yield mos


def at(mos: MOS, who: str | Actor, **options: Any) -> Session:
    reads_only = isinstance(who, Actor)
    return mos.session(who, read_from=["desk"], write_to=[] if reads_only else ["desk"], **options)


def policy(mos: MOS, **options: Any) -> None:
    mos.cube("desk").set_policy(CubePolicy(**options))


def raw(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


# -- on the way in --------------------------------------------------------------------------------------------------------


def test_what_is_redacted_is_in_no_byte_of_the_store(mos: MOS, folder: Path) -> None:
    policy(mos, redact=("email", "card"))
    bob = at(mos, "bob", conversation="talk")
    bob.add(SAYING, id="fact", payload={"who": [MAIL]}, metadata={"card": CARD, MAIL: 1})
    bob.add(Message(content=f"write to {MAIL}", speaker="Otto"))
    bob.add(Document(text=f"# Reach {MAIL}\n\nOr pay with {CARD}.", uri="notes.md", format="markdown"))
    bob.update("fact", text=f"now it is {MAIL.upper()}", metadata={"old": MAIL})
    bob.merge([item.id for item in bob.list()][:2], f"both know {MAIL}")
    assert bob.get("fact").text == "now it is [email]"
    assert bob.get("fact").metadata == {"old": "[email]"}
    assert bob.get("fact").redacted == {"email": 2}
    first = bob.history("fact")[0].item
    assert first is not None
    assert first.text == "Otto's mail is [email], his card is [card]."
    assert first.payload == {"who": ["[email]"]}
    assert first.metadata == {"card": "[card]", "[email]": 1}
    assert first.redacted == {"email": 3, "card": 2}
    mos.close()
    for secret in (MAIL, MAIL.upper(), CARD, "otto.mueller"):
        assert secret.encode() not in raw(folder)


def test_kinds_are_in_the_audit_and_values_are_not(mos: MOS) -> None:
    policy(mos, redact=("email",))
    at(mos, "bob").add([SAYING, "nothing to see", f"and {MAIL}"])
    entry = mos.cube("desk").audit()[-1]
    assert (entry.action, entry.detail["redacted"]) == ("add", {"email": 2})
    assert "otto" not in str(entry.detail)


def test_what_goes_to_several_cubes_is_redacted_by_all_of_them(mos: MOS) -> None:
    policy(mos, redact=("email",))
    mos.session("bob").add("so that there is a cube")
    mos.cube("bob").set_policy(CubePolicy(redact=("card",)))
    both = mos.session("bob", read_from=["desk", "bob"], write_to=["desk", "bob"])
    assert both.add(SAYING)[0].text == "Otto's mail is [email], his card is [card]."


def test_read_shows_what_would_be_stored_and_vectors_must_be_of_that(mos: MOS) -> None:
    policy(mos, redact=("email",))
    bob = at(mos, "bob")
    (draft,) = bob.read(SAYING)
    assert MAIL not in draft.text
    vector = [[0.1] * 256]
    with pytest.raises(InvalidInput, match=r"holds what this cube redacts \(email\), and its vector was made with it"):
        bob.add(SAYING, vectors=vector)  # type: ignore[arg-type]
    assert not bob.list()
    assert bob.add(draft, vectors=vector)[0].text == draft.text  # type: ignore[arg-type]


def test_awaited_too(mos: MOS) -> None:
    policy(mos, redact=("email",))
    bob = AsyncSession.of(at(mos, "bob"))
    added = asyncio.run(bob.add(SAYING))
    assert MAIL not in added[0].text


def test_what_was_stored_before_the_policy_stays(mos: MOS) -> None:
    bob = at(mos, "bob")
    bob.add(SAYING, id="old")
    policy(mos, redact=("email", "card"))
    assert bob.get("old").text == SAYING
    bob.update("old", tags=["x"])
    assert bob.get("old").text == SAYING


def test_going_back_does_not_bring_back_what_is_redacted_by_now(mos: MOS) -> None:
    bob = at(mos, "bob")
    bob.add(SAYING, id="old")
    bob.update("old", text="nothing to see")
    bob.update("old", text="still nothing")
    before = mos.cube("desk").stats()["changes"] - 1
    policy(mos, redact=("email",))
    with pytest.raises(StateConflict, match=r"version 1 of item 'old' in cube 'desk' holds .*\(email\)"):
        bob.rollback("old", 1)
    with pytest.raises(StateConflict, match="email"):
        mos.rollback_cube("desk", 1)
    bob.rollback("old", 2)
    mos.rollback_cube("desk", before)
    assert bob.get("old").text == "nothing to see"


def test_names_from_a_list_and_rules_of_ones_own(mos: MOS) -> None:
    policy(mos, redact=("name", "tests.story.test_redacting:Codename"), names=("Zoltan",))
    assert at(mos, "bob").add("Zoltan met bluebird.")[0].text == "[name] met [codename]."


class Codename:
    kind = "codename"

    def find(self, text: str) -> list[tuple[int, int]]:
        place = text.find("bluebird")
        return [(place, place + len("bluebird"))] if place >= 0 else []


def test_a_rule_that_there_is_not_is_refused_when_the_policy_is_set(mos: MOS) -> None:
    for wrong in ({"redact": ("mail",)}, {"mask": ("mail",)}):
        with pytest.raises(InvalidConfig, match="mail"):
            policy(mos, **wrong)
    assert at(mos, "bob").add(SAYING)[0].text == SAYING


# -- on the way out -------------------------------------------------------------------------------------------------------


def shown(session: Session) -> list[str]:
    """Everything that a session shows of an item."""
    (hit,) = session.search("Otto", top_k=1)
    (item,) = session.list()
    version = session.history("fact")[0].item
    assert version is not None
    near = session.view.read[0].nearest([0.1] * 256, 1)[0][0]  # type: ignore[arg-type]
    context = session.context("Otto", min_score=0).text.removeprefix("- ")
    explained = str(session.explain("fact")).splitlines()[0].partition(": ")[2]
    return [hit.text, item.text, version.text, near.text, session.get("fact").text, context, explained]


def test_masked_is_shown_to_administrators_and_roles_that_may_only(mos: MOS) -> None:
    policy(mos, mask=("email", "card"), unmasked_roles=("auditor",))
    at(mos, "alice").add(SAYING, id="fact", payload=MAIL, metadata={"mail": MAIL})
    mos.share("desk", with_="carol")
    clear, hidden = {SAYING}, {"Otto's mail is [email], his card is [card]."}
    assert set(shown(at(mos, "alice"))) == clear
    assert set(shown(at(mos, Actor("eve", ("auditor",))))) == clear
    for who in ("bob", Actor("carol")):
        assert set(shown(at(mos, who))) == hidden
        item = at(mos, who).get("fact")
        assert (item.payload, item.metadata) == ("[email]", {"mail": "[email]"})
        assert MAIL not in str(item.to_dict())
    assert at(mos, "alice").get("fact").text == SAYING


def test_what_is_masked_is_not_found_out_by_asking(mos: MOS) -> None:
    policy(mos, mask=("email",))
    alice, bob = at(mos, "alice"), at(mos, "bob")
    alice.add([f"Otto: {MAIL}", "Otto: anna@example.org"])
    for mail in (MAIL, "anna@example.org"):
        assert texts(alice.search(mail))[0] == f"Otto: {mail}"
    scores = [[hit.score for hit in bob.search(mail)] for mail in (MAIL, "anna@example.org", "nobody@example.org")]
    assert scores[0] == scores[1] == scores[2]
    for where in (F.text.contains(MAIL), F.payload == 1, (F.tag == 1) | ~F.text.contains("x")):
        for ask in (lambda w: bob.search("Otto", where=w), lambda w: bob.list(where=w)):
            with pytest.raises(AccessDenied, match="masked"):
                ask(where)  # type: ignore[no-untyped-call]
        assert alice.list(where=where) is not None
