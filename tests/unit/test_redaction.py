"""If this fails, a secret stays readable, something harmless is blacked out, or what was redacted shows again in an error."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Iterable

import msgspec
import pytest

from memos_core.errors import InvalidConfig, InvalidMetadata
from memos_core.governance.redaction.normalise import Folded
from memos_core.governance.redaction.redactor import Finding, Redactor
from memos_core.governance.redaction.rules import BUILT_IN, Pattern, rule

NAMES = ["Dora Lindqvist", "Zoë", "王小明", "Anna", "O'Connell"]


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor(names=NAMES)


SHOWN = [
    ("Write to dora@example.com.", "Write to [email]."),
    ("我的邮箱是dora@example.com谢谢", "我的邮箱是[email]谢谢"),
    ("It is dora.l at example dot com", "It is [email]"),
    ("Call (415) 555-2671 or +49 30 901820.", "Call [phone] or [phone]."),
    ("My card: 4111 1111 1111 1111 exp 09/28", "My card: [card] exp 09/28"),
    ("My card: ４１１１-１１１１-１１１１-１１１１", "My card: [card]"),
    ("4\u200b1\u00ad11 1111\u00a01111 11\u033611", "[card]"),
    ("to DE89 3704 0044 0532 0130 00 please", "to [iban] please"),
    ("SSN 536-90-4399", "SSN [national-id]"),
    ("身份证号11010519491231002X。", "身份证号[national-id]。"),
    ("ping 192.168.1.20, then 2001:db8::8a2e:370:7334", "ping [ip], then [ip]"),
    ("key AKIAIOSFODNN7EXAMPLE leaked", "key [api-key] leaked"),
    ("Authorization: Bearer 8f14e45fceea167a5a36dedd4bea2543", "Authorization: Bearer [token]"),
    ("my password is hunter2, ok?", "my password is [password], ok?"),
    ("Mein Passwort lautet Sommer!24", "Mein Passwort lautet [password]"),
    ("我的密码是abc123，别说", "我的密码是[password]，别说"),
    ("postgres://app:s3cr3t@db/app", "postgres://app:[password]@db/app"),
    ("DORA LINDQVIST's bike and Annas Auto, zoe", "[name]'s bike and [name] Auto, [name]"),
    ("昨天王小明来了", "昨天[name]来了"),
    ("Did O’Connell call?", "Did [name] call?"),
    ("> -----BEGIN PRIVATE KEY-----\n> MIIEow*\n> -----END PRIVATE KEY-----", "> [private-key]"),
    ("-----BEGIN PRIVATE KEY-----\nMIIEow+/\nAb", "[private-key]"),
    (
        "-----BEGIN PRIVATE KEY-----\nAb==\n, 2 days later: -----BEGIN PRIVATE KEY-----\nAb==\n-----END PRIVATE KEY-----",
        "[private-key]\n, 2 days later: [private-key]",
    ),
    (
        "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIEow+/\nAb==\n-----END RSA PRIVATE KEY-----\nb",
        "a\n[private-key]\nb",
    ),
]


@pytest.mark.parametrize(("text", "expected"), SHOWN)
def test_what_a_person_would_black_out(redactor: Redactor, text: str, expected: str) -> None:
    done = redactor.redact(text)
    assert done.text == expected
    assert redactor.redact(done.text).text == done.text
    assert redactor.redact(done.text).counts == {}


@pytest.mark.parametrize(
    "text",
    [
        "My password is safe.",
        "On 2024-05-12 at 14:30, or 05.12.2024?",
        "It cost $1,234,567.89 or 1 234 567 kr",
        "Version 1.2.3.4 of chrome/120.0.0.1",
        "Order 4155552671 and ISBN 978-3-16-148410-0",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
        "48.208176, 16.373819",
        "std::vector and a::b",
        "The bearer of bad news has a secret",
        "4111 1111 1111 1112 has a wrong last digit",
        "DE88 3704 0044 0532 0130 00 does not add up",
        "DE5137040044053201300 adds up, but is too short for Germany",
        "XQ67370400440532013000 is of no country",
        "Order 13812345678, ticket 415-555-2671",
        "Annabel and Hannah",
        "Dora Smith",
        "",
        " \u200b\n",
    ],
)
def test_what_is_left_alone(redactor: Redactor, text: str) -> None:
    assert redactor.find(text) == []
    assert redactor.redact(text) == msgspec.convert({"text": text, "counts": {}}, type(redactor.redact("")))


def test_findings_say_kind_and_place_and_never_what(redactor: Redactor) -> None:
    text = "e\u0301 ﬁ ｄora@example.com\u200b!"
    (found,) = redactor.find(text)
    assert unicodedata.normalize("NFKC", text[found.start : found.end]).startswith("dora@")
    assert text[found.end :] == "!"  # what nobody sees goes along
    assert set(Finding.__struct_fields__) == {"kind", "start", "end"}
    assert redactor.redact(text).counts == {"email": 1}


@pytest.mark.parametrize("text", ["abc", "ﬁx１２", "e\u0301x\u200b", "\u00ad\u00ad", "가힣", "АВc", "x\U0001d7d8y"])
def test_folded_places_lead_back(text: str) -> None:
    folded = Folded(text)
    ends = [folded.span(place, place + 1) for place in range(len(folded.text))]
    assert all(0 <= start < end <= len(text) for start, end in ends)
    assert [start for start, _ in ends] == sorted(start for start, _ in ends)


def test_the_longest_wins_and_nothing_of_a_shorter_one_stays(redactor: Redactor) -> None:
    text = "my password is dora@example.com!x9"
    assert redactor.redact(text).text == "my password is [password]"
    found = Redactor([Pattern("one", "abcd"), Pattern("two", "cdefg")]).redact("abcdefg")
    assert found.text == "[one][two]"


def test_words_that_mix_alphabets_are_read_as_they_look(redactor: Redactor) -> None:
    assert redactor.redact("Аnnа was here").text == "[name] was here"  # Cyrillic А and а


def test_json_keeps_its_shape(redactor: Redactor) -> None:
    value = {"dora@example.com": [1, True, None, "call +49 30 901820"], "joe@example.com": {"note": "hi", "n": 1.5}}
    done, counts = redactor.redact_json(value)
    assert done == {"[email]": [1, True, None, "call [phone]"], "[email] (2)": {"note": "hi", "n": 1.5}}
    assert counts == {"email": 2, "phone": 1}
    assert redactor.redact_json(done) == (done, {})
    for wrong in ({1: "a"}, {"a": object()}):
        with pytest.raises(InvalidMetadata):
            redactor.redact_json(wrong)
    deep: object = "x"
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(InvalidMetadata, match="deeper"):
        redactor.redact_json(deep)


# -- rules of one's own ----------------------------------------------------------------------------------------------------


class Staff:
    """Staff numbers."""

    kind = "staff-id"

    def find(self, text: str) -> Iterable[tuple[int, int]]:
        place = text.find("ST-")
        while place >= 0:
            yield place, min(place + 7, len(text))
            place = text.find("ST-", place + 1)


project = Pattern("project", r"\bprojekt (?P<value>ö\w+)")


def test_own_rules_plug_in_as_objects_and_by_import_path() -> None:
    for given in ([Staff(), project], [f"{__name__}:Staff", f"{__name__}:project"]):
        redactor = Redactor([*given, "email"])
        assert redactor.kinds == ("staff-id", "project", "email")
        done = redactor.redact("ＳＴ-1234 works on Projekt Öresund, a@b.de")
        assert done.text == "[staff-id] works on Projekt [project], [email]"
        assert done.counts == {"staff-id": 1, "project": 1, "email": 1}
        assert redactor.redact(done.text).counts == {}


def test_unknown_rules_name_those_there_are() -> None:
    with pytest.raises(InvalidConfig) as told:
        Redactor(["e-mail"])
    assert all(name in str(told.value) for name in BUILT_IN)
    for wrong in (["nowhere:Rule"], [f"{__name__}:missing"], [f"{__name__}:NAMES"], "email", [3], [Staff]):
        with pytest.raises(InvalidConfig):
            Redactor(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidConfig):
        Pattern("x", "(")
    with pytest.raises(InvalidConfig):
        Redactor([Pattern("Not A Kind", "x")])
    with pytest.raises(InvalidConfig):
        Redactor(names="Anna")


def test_an_own_rule_that_fails_does_not_quote_the_text() -> None:
    class Broken:
        kind = "broken"

        def find(self, text: str) -> Iterable[tuple[int, int]]:
            raise ValueError(f"cannot read {text}")

    with pytest.raises(InvalidConfig) as told:
        Redactor([Broken()]).find("hunter2")
    error: BaseException | None = told.value
    while error is not None:
        assert "hunter2" not in str(error)
        error = error.__cause__ or error.__context__

    class Beyond:
        kind = "beyond"

        def find(self, text: str) -> Iterable[tuple[int, int]]:
            return [(0, len(text) + 1)]

    with pytest.raises(InvalidConfig, match="place"):
        Redactor([Beyond()]).find("hunter2")


def test_every_built_in_rule_stands_alone() -> None:
    for name in BUILT_IN:
        each = rule(name, names=NAMES)
        assert each.kind == name
        assert list(each.find("")) == []


def test_many_threads_may_use_one_redactor(redactor: Redactor) -> None:
    texts = [text for text, _ in SHOWN] * 5
    expected = [redactor.redact(text) for text in texts]
    wrong: list[object] = []

    def work() -> None:
        wrong.extend(text for text, told in zip(texts, expected, strict=True) if redactor.redact(text) != told)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
