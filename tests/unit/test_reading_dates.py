"""If these fail, "yesterday" in a message points at the wrong day: questions with a date find the wrong memories, or an
ordinary word ("may", "sun", "second") is taken for a date and pulls memories to where they do not belong.
"""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memos_core.reading.dates import MOST_MENTIONS, find_dates, find_query_dates

NOW = datetime(2023, 6, 14, 13, 0, tzinfo=UTC)  # a Wednesday


def found(text: str, language: str | None = "en", at: datetime | None = NOW) -> list[tuple[str, str, str]]:
    return [(mention.text, mention.start, mention.end) for mention in find_dates(text, at=at, language=language)]


def days(text: str, language: str | None = "en", at: datetime | None = NOW) -> list[str]:
    """The ranges alone: "2023-05-08", or "2023-05-01..2023-05-31"."""
    return [start if start == end else f"{start}..{end}" for _, start, end in found(text, language, at)]


ENGLISH = {
    # by name
    "It was on 2023-05-08T13:56Z.": "2023-05-08",
    "8 May 2023": "2023-05-08",
    "May 8th, 2023": "2023-05-08",
    "Sunday, the 7th of May, 2023": "2023-05-07",
    "Sun, 7 May 2023": "2023-05-07",
    "We met on May 8.": "2023-05-08",
    "on Jan 5 we met": "2023-01-05",
    "May 8-10, 2023": "2023-05-08..2023-05-10",
    "8–10 May 2023": "2023-05-08..2023-05-10",
    "May 2023": "2023-05-01..2023-05-31",
    "in May it rained": "2023-05-01..2023-05-31",
    "in february 2024": "2024-02-01..2024-02-29",
    "early May 2023": "2023-05-01..2023-05-10",
    "mid-May": "2023-05-11..2023-05-21",
    "at the end of May": "2023-05-22..2023-05-31",
    "last August": "2022-08-01..2022-08-31",
    "August last year": "2022-08-01..2022-08-31",
    "the last week of September 2023": "2023-09-24..2023-09-30",
    "the first weekend of August 2023": "2023-08-05..2023-08-06",
    "the second Monday of May 2023": "2023-05-08",
    "in 2023-05, say": "2023-05-01..2023-05-31",
    "05/2023": "2023-05-01..2023-05-31",
    "spring 2023": "2023-03-01..2023-05-31",
    "last summer": "2022-06-01..2022-08-31",
    "in the winter of 2021": "2021-12-01..2022-02-28",
    "It has run since 2016.": "2016-01-01..2016-12-31",
    "I was born in 1990 in Rome": "1990-01-01..1990-12-31",
    "2022": "2022-01-01..2022-12-31",
    "the 1990s": "1990-01-01..1999-12-31",
    "08/05/2023": "2023-08-05",
    "25/05/2023": "2023-05-25",
    "8.5.2023": "2023-05-08",
    "5/8/23": "2023-05-08",
    "on the 5th, we left": "2023-06-05",
    "last Christmas": "2022-12-24..2022-12-26",
    "Halloween 2021": "2021-10-31",
    "Thanksgiving 2022": "2022-11-24",
    "New Year's Eve 2022": "2022-12-31",
    "the week before 9 June 2023": "2023-06-02..2023-06-08",
    "the Friday before 15 July 2023": "2023-07-14",
    "the week of May 10": "2023-05-08..2023-05-14",
    # counted from the day of writing
    "I went there yesterday.": "2023-06-13",
    "tomorrow morning": "2023-06-15",
    "tonight": "2023-06-14",
    "last night": "2023-06-13",
    "this morning": "2023-06-14",
    "the day before yesterday": "2023-06-12",
    "the other day": "2023-06-07..2023-06-13",
    "this week": "2023-06-12..2023-06-18",
    "last week": "2023-06-05..2023-06-11",
    "next week": "2023-06-19..2023-06-25",
    "the week before last": "2023-05-29..2023-06-04",
    "last weekend": "2023-06-10..2023-06-11",
    "this past weekend": "2023-06-10..2023-06-11",
    "this weekend": "2023-06-17..2023-06-18",
    "we went out over the weekend": "2023-06-10..2023-06-11",
    "last month": "2023-05-01..2023-05-31",
    "next month": "2023-07-01..2023-07-31",
    "last year": "2022-01-01..2022-12-31",
    "later this year": "2023-09-02..2023-12-31",
    "the end of the month": "2023-06-21..2023-06-30",
    "the past week": "2023-06-07..2023-06-14",
    "in the last two weeks": "2023-05-31..2023-06-14",
    "the next few days": "2023-06-14..2023-06-19",
    "two days ago": "2023-06-12",
    "two weeks ago": "2023-05-28..2023-06-03",
    "a month ago": "2023-05-01..2023-05-31",
    "3 years ago": "2020-01-01..2020-12-31",
    "a few days ago": "2023-06-09..2023-06-12",
    "a couple of weeks ago": "2023-05-21..2023-06-03",
    "two weekends ago": "2023-06-03..2023-06-04",
    "half a year ago": "2022-12-01..2022-12-31",
    "in three days": "2023-06-17",
    "last Friday": "2023-06-09",
    "last Wednesday": "2023-06-07",
    "next Friday": "2023-06-16",
    "this Friday": "2023-06-16",
    "Friday next week": "2023-06-23",
    "on Friday we met": "2023-06-09",
    "we'll meet on Friday": "2023-06-16",
    "The meeting is on Friday.": "2023-06-16",
    "I'm going to a conference in July": "2023-07-01..2023-07-31",
    "I went to a conference in July": "2022-07-01..2022-07-31",
    "The fair is in July": "2023-07-01..2023-07-31",
}
GERMAN = {
    "gestern war ich da": "2023-06-13",
    "vorgestern": "2023-06-12",
    "heute Abend": "2023-06-14",
    "Bis morgen!": "2023-06-15",
    "übermorgen": "2023-06-16",
    "letzten Freitag": "2023-06-09",
    "nächste Woche": "2023-06-19..2023-06-25",
    "vorletzte Woche": "2023-05-29..2023-06-04",
    "am 8. Mai": "2023-05-08",
    "am Montag, den 8. Mai 2023": "2023-05-08",
    "vom 8. bis 10. Mai 2023": "2023-05-08..2023-05-10",
    "am 8.5. war es": "2023-05-08",
    "8.5.2023": "2023-05-08",
    "08/05/2023": "2023-05-08",
    "08.05.23": "2023-05-08",
    "vor zwei Wochen": "2023-05-28..2023-06-03",
    "vor ein paar Tagen": "2023-06-09..2023-06-12",
    "vor einem Jahr": "2022-01-01..2022-12-31",
    "vor einem halben Jahr": "2022-12-01..2022-12-31",
    "in drei Tagen": "2023-06-17",
    "im Mai": "2023-05-01..2023-05-31",
    "Ende Mai": "2023-05-22..2023-05-31",
    "im letzten Sommer": "2022-06-01..2022-08-31",
    "Sommer 2022": "2022-06-01..2022-08-31",
    "seit 2015": "2015-01-01..2015-12-31",
    "letztes Wochenende": "2023-06-10..2023-06-11",
    "am Wochenende waren wir weg": "2023-06-10..2023-06-11",
    "nächstes Jahr": "2024-01-01..2024-12-31",
    "letzte Weihnachten": "2022-12-24..2022-12-26",
}
CHINESE = {
    "我昨天去了上海": "2023-06-13",
    "前天": "2023-06-12",
    "大前天": "2023-06-11",
    "明天会下雨": "2023-06-15",
    "昨晚": "2023-06-13",
    "上周五": "2023-06-09",
    "上星期三": "2023-06-07",
    "下周": "2023-06-19..2023-06-25",
    "这个周末": "2023-06-17..2023-06-18",
    "周末我们去了公园": "2023-06-10..2023-06-11",
    "上个月": "2023-05-01..2023-05-31",
    "上个月底": "2023-05-22..2023-05-31",
    "今年": "2023-01-01..2023-12-31",
    "去年夏天": "2022-06-01..2022-08-31",
    "去年年底": "2022-09-02..2022-12-31",
    "三天前": "2023-06-11",
    "两周前": "2023-05-28..2023-06-03",
    "一个月前": "2023-05-01..2023-05-31",
    "几年前": "2018-01-01..2021-12-31",
    "半年前": "2022-12-01..2022-12-31",
    "三天后": "2023-06-17",
    "2023年5月8日": "2023-05-08",
    "二〇二三年五月八日": "2023-05-08",
    "5月8号": "2023-05-08",
    "十二月二十五日": "2022-12-25",
    "2023年5月": "2023-05-01..2023-05-31",
    "国庆节": "2022-10-01",
}
FRENCH = {
    "hier soir": "2023-06-13",
    "avant-hier": "2023-06-12",
    "aujourd'hui": "2023-06-14",
    "demain": "2023-06-15",
    "la semaine dernière": "2023-06-05..2023-06-11",
    "lundi dernier": "2023-06-12",
    "le mois prochain": "2023-07-01..2023-07-31",
    "le 8 mai 2023": "2023-05-08",
    "1er mai 2023": "2023-05-01",
    "en mai": "2023-05-01..2023-05-31",
    "il y a deux semaines": "2023-05-28..2023-06-03",
    "dans trois jours": "2023-06-17",
    "cet été": "2023-06-01..2023-08-31",
}
SPANISH = {
    "ayer": "2023-06-13",
    "anteayer": "2023-06-12",
    "mañana": "2023-06-15",
    "pasado mañana": "2023-06-16",
    "esta mañana": "2023-06-14",
    "la semana pasada": "2023-06-05..2023-06-11",
    "el lunes pasado": "2023-06-12",
    "el año que viene": "2024-01-01..2024-12-31",
    "8 de mayo de 2023": "2023-05-08",
    "en mayo": "2023-05-01..2023-05-31",
    "hace dos semanas": "2023-05-28..2023-06-03",
    "el fin de semana pasado": "2023-06-10..2023-06-11",
}


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        (language, text, expected)
        for language, table in {"en": ENGLISH, "de": GERMAN, "zh": CHINESE, "fr": FRENCH, "es": SPANISH}.items()
        for text, expected in table.items()
    ],
)
def test_what_a_phrase_means(language: str, text: str, expected: str) -> None:
    assert days(text, language) == [expected]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", text)
        for text in (
            "",
            "You may go.",
            "May I ask?",
            "This may be the last one.",
            "We march on.",
            "I sat in the sun.",
            "Jan said hello to Mark.",
            "She came second.",
            "31 February 2023",
            "29 February 2023",
            "13/13/2023",
            "every Friday",
            "on Mondays",
            "at the end of the day",
            "the 5th time",
            "on the 5th floor",
            "3 kids and 12 cats",
            "2000 people came",
            "it costs $2000",
            "1/2 cup of sugar",
            "version 1.2.3",
            "192.168.10.20",
            "at 10:30",
            "my last year of college",
            "I finished it in two weeks, it was hard.",
            "Rome wasn't built in a day.",
            "for three years",
            "I like hiking in the summer",
            "Have a great weekend!",
            "these days",
            "What do you do at Christmas?",
            "Cyberpunk 2077",
            "report_2023.pdf",
            "someday, daylight, Sundance, Mayor, marching, decent",
        )
    ]
    + [("de", text) for text in ("Guten Morgen!", "am Morgen", "jeden Freitag", "31. Februar 2023", "so do mi")]
    + [("zh", text) for text in ("今天气温", "以后天气很好", "2月31日", "星期", "三个月", "每天都很好", "前面")]
    + [("es", "por la mañana"), ("fr", "un été")],
)
def test_what_is_no_date(language: str, text: str) -> None:
    assert days(text, language) == []


def test_the_words_are_kept_as_written_and_in_order() -> None:
    text = "Yesterday I met Ann, and in May 2022 we had met in Rome. See you next Friday!"
    assert [words for words, _, _ in found(text)] == ["Yesterday", "in May 2022", "next Friday"]
    for words, _, _ in found(text):
        assert words in text


def test_a_year_named_once_counts_for_both_days() -> None:
    assert days("between August 11 and August 15, 2022") == ["2022-08-11", "2022-08-15"]


def test_numbers_are_read_as_the_language_writes_them() -> None:
    assert days("08/05/2023", "en") == days("08/05/2023", None) == ["2023-08-05"]
    for language in ("de", "fr", "es"):
        assert days("08/05/2023", language) == ["2023-05-08"]


def test_without_a_time_only_what_names_its_year_is_found() -> None:
    text = "Yesterday, last week, on Friday, in May, on May 8 and on 8 May 2023, in spring 2022 and in 1999."
    assert days(text, at=None) == ["2023-05-08", "2022-03-01..2022-05-31", "1999-01-01..1999-12-31"]
    assert days("昨天和2023年5月8日", "zh", at=None) == ["2023-05-08"]


def test_without_a_language_clear_words_of_all_of_them_count() -> None:
    assert (
        days("gestern", None) == days("ayer", None) == days("昨天", None) == days("yesterday", None) == ["2023-06-13"]
    )
    assert days("am 8. Mai 2023", None) == ["2023-05-08"]
    # The same letters mean something else: "hier" is here in German, "Mars" a planet in English.
    assert days("hier", None) == days("life on Mars", None) == days("hier", "de") == []


def test_texts_that_mix_languages() -> None:
    assert days("我们 2023-05-08 见过面，yesterday 也见过", "zh") == ["2023-05-08", "2023-06-13"]
    assert days("Das Meeting war yesterday", "de") == ["2023-06-13"]


def test_a_winter_belongs_to_two_years() -> None:
    january = datetime(2024, 1, 20, tzinfo=UTC)
    assert days("this winter", at=january) == ["2023-12-01..2024-02-29"]
    assert days("last winter", at=january) == ["2022-12-01..2023-02-28"]
    assert days("this summer", at=datetime(2023, 10, 1, tzinfo=UTC)) == ["2023-06-01..2023-08-31"]


EASTER = {
    1961: "04-02",
    1999: "04-04",
    2000: "04-23",
    2008: "03-23",
    2019: "04-21",
    2023: "04-09",
    2024: "03-31",
    2038: "04-25",
}


@pytest.mark.parametrize("year", EASTER)
def test_easter_is_where_the_almanac_has_it(year: int) -> None:
    ((_, start, end),) = found(f"Easter {year}")
    sunday = date.fromisoformat(f"{year}-{EASTER[year]}")
    assert (date.fromisoformat(start), date.fromisoformat(end)) == (
        sunday - timedelta(days=2),
        sunday + timedelta(days=1),
    )


def test_at_the_edges_of_the_calendar_nothing_breaks() -> None:
    for at in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        text = (
            "yesterday, tomorrow, last week, next week, 30 years ago, in 30 years, last decade, next month, last summer"
        )
        for mention in find_dates(text, at=at, language="en"):
            assert mention.start <= mention.end


def test_at_most_so_many() -> None:
    text = ", ".join(f"{day} May {year}" for year in (2021, 2022, 2023) for day in range(1, 29))
    mentions = find_dates(text, at=NOW, language="en")
    assert len(mentions) == MOST_MENTIONS
    assert mentions[0].start == "2021-05-01"


def test_a_turkish_capital_does_not_move_the_words() -> None:
    assert found("İİİİ yesterday İ", None) == [("yesterday", "2023-06-13", "2023-06-13")]


DAYS = st.dates(date(1950, 1, 1), date(2080, 12, 31))


@given(DAYS)
def test_weekdays_agree_with_a_walk_through_the_calendar(day: date) -> None:
    at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    for number, name in enumerate(calendar.day_name):
        last = day - timedelta(days=1)
        while last.weekday() != number:
            last -= timedelta(days=1)
        coming = day + timedelta(days=1)
        while coming.weekday() != number:
            coming += timedelta(days=1)
        assert days(f"last {name}", at=at) == [last.isoformat()]
        assert days(f"next {name}", at=at) == [coming.isoformat()]


@given(DAYS)
def test_weeks_months_and_years_agree_with_the_standard_library(day: date) -> None:
    at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    start, end = (date.fromisoformat(part) for part in days("last week", at=at)[0].split(".."))
    assert start.isocalendar()[:2] == end.isocalendar()[:2] == (day - timedelta(days=7)).isocalendar()[:2]
    assert (end - start).days == 6
    ((_, first, last),) = found("last month", at=at)
    assert date.fromisoformat(last) == day.replace(day=1) - timedelta(days=1)
    assert first == last[:8] + "01"
    assert days("this year", at=at) == [f"{day.year}-01-01..{day.year}-12-31"]


@given(DAYS)
def test_every_way_of_writing_a_day_names_it(day: date) -> None:
    month = calendar.month_name[day.month]
    iso = day.isoformat()
    for text in (iso, f"{day.day} {month} {day.year}", f"{month} {day.day}, {day.year}", f"on {day:%d.%m.%Y}."):
        assert days(text, at=None) == [iso]
    assert days(f"{day.year}年{day.month}月{day.day}日", "zh", at=None) == [iso]
    assert days(f"{day:%m/%d/%Y}", at=None) == [iso]
    assert days(f"{day:%d/%m/%Y}", "fr", at=None) == [iso]


@given(DAYS, st.integers(1, 28), st.integers(1, 12))
def test_a_day_without_a_year_is_the_last_one_or_with_a_future_the_next(at: date, number: int, month: int) -> None:
    name = f"{calendar.month_name[month]} {number}"
    moment = datetime(at.year, at.month, at.day, tzinfo=UTC)
    past = date.fromisoformat(days(f"We went there on {name}", at=moment)[0])
    assert past <= at < past.replace(year=past.year + 1)
    future = date.fromisoformat(days(f"We will go there on {name}", at=moment)[0])
    assert future.replace(year=future.year - 1) < at <= future


@given(st.text(max_size=300), st.sampled_from([None, "en", "de", "fr", "es", "zh", "xx"]))
def test_any_text_gives_words_of_its_own_and_ranges_in_order(text: str, language: str | None) -> None:
    for mention in find_dates(text, at=NOW, language=language):
        assert mention.text in text
        assert date.fromisoformat(mention.start) <= date.fromisoformat(mention.end)


@pytest.mark.parametrize(
    ("question", "ranges"),
    [
        ("What happened in May 2023?", [("2023-05-01", "2023-05-31")]),
        ("Which place did Ann visit in May?", [("2023-05-01", "2023-05-31")]),
        ("What did we talk about yesterday?", [("2023-06-13", "2023-06-13")]),
        ("When did she go there?", []),
        ("What year did she start surfing?", []),
        ("How many weeks passed between the two?", []),
        ("What has changed since May?", [("2023-05-01", "2023-06-14")]),
        ("What did she do after 2022?", [("2023-01-01", "9999-12-31")]),
        ("Where did she live before June 2020?", [("0001-01-01", "2020-05-31")]),
        ("What was open until last week?", [("0001-01-01", "2023-06-11")]),
        ("Where was she between August 11 and August 15 2022?", [("2022-08-11", "2022-08-15")]),
        ("Where are the notes from last week?", [("2023-06-05", "2023-06-11")]),
        ("What happened from May to July 2022?", [("2022-05-01", "2022-07-31")]),
        ("Where was she in the week before 16 November 2022?", [("2022-11-09", "2022-11-15")]),
    ],
)
def test_a_question_names_a_range_to_look_in(question: str, ranges: list[tuple[str, str]]) -> None:
    assert [(each.start, each.end) for each in find_query_dates(question, now=NOW, language="en")] == ranges


def test_a_question_in_german() -> None:
    (before,) = find_query_dates("Was war vor 2020?", now=NOW, language="de")
    assert (before.start, before.end) == ("0001-01-01", "2019-12-31")
    (onward,) = find_query_dates("Was gab es ab März 2023?", now=NOW, language="de")
    assert (onward.start, onward.end) == ("2023-03-01", "9999-12-31")
