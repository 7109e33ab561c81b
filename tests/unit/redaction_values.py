"""Made-up secrets for measuring redaction: numbers with checksums of their own arithmetic, written in many ways.

Nothing here is shared with the detectors: no pattern, no table, no library. `held=True` also gives forms of writing that the
detectors were not developed on.
"""

from __future__ import annotations

import base64
import string
from collections.abc import Callable
from random import Random

Maker = Callable[[Random, bool], str]
LOWER, UPPER, DIGITS = string.ascii_lowercase, string.ascii_uppercase, string.digits
ALNUM = string.ascii_letters + DIGITS
NAMES = [
    "Dora Lindqvist", "Tomasz Wójcik", "Priya Raghavan", "Jean-Luc Moreau", "Siobhán O'Connell", "Мария Соколова",
    "王小明", "佐藤花子", "Beyza Yılmaz", "Kwame", "Zoë", "Nikolaos Papadopoulos", "Ngozi", "山田", "Łukasz",
]  # fmt: skip


def some(random: Random, letters: str, count: int) -> str:
    return "".join(random.choice(letters) for _ in range(count))


def digits(random: Random, count: int) -> str:
    return some(random, DIGITS, count)


def grouped(number: str, sizes: list[int], separator: str) -> str:
    parts, at = [], 0
    for size in sizes:
        parts.append(number[at : at + size])
        at += size
    return separator.join(part for part in [*parts, number[at:]] if part)


def email(random: Random, held: bool) -> str:
    first, last = (
        random.choice(["dora", "t.wojcik", "priya", "info", "anna"]),
        random.choice(["lind", "hq", "smith", "77"]),
    )
    hosts = ["example.com", "mail.example.co.uk", "firma-mueller.de", "uni.edu", "sub.team.io", "post.example.museum"]
    host = random.choice(hosts)
    forms = [
        f"{first}@{host}",
        f"{first}.{last}@{host}",
        f"{first}+{last}{random.randint(1, 99)}@{host}",
        f"{first}_{last}@{host}".upper(),
        f"{first}-{last}@{host}",
        f"jürgen.{last}@{host}",
        f"山田{last}@{host}",
    ]
    odd = [
        f"{first}.{last} at {host.split('.')[0]} dot com",
        f"o'{last}@{host}",
        f"{last}@bücher.example",
        f"{first}%x@{host}",
    ]
    fresh = [
        f"{last}.{first}@{host}".title(),
        f"{first}{random.randint(1960, 2009)}@{host}",
        f"{first}@{digits(random, 3)}.{host}",
    ]
    return random.choice(forms + odd + (fresh if held else []))


def phone(random: Random, held: bool) -> str:
    r = random
    area, exchange, line = r.choice(["415", "212", "303", "617"]), r.choice(["555", "231", "867"]), digits(r, 4)
    forms = [
        f"+1 {area} {exchange} {line}",
        f"({area}) {exchange}-{line}",
        f"{area}-{exchange}-{line}",
        f"{area}.{exchange}.{line}",
        f"+1-{area}-{exchange}-{line}",
        f"+49 30 {r.randint(200, 899)}{digits(r, 5)}",
        f"030 {r.randint(200, 899)} {digits(r, 5)}",
        f"0171 {r.randint(2, 9)}{digits(r, 6)}",
        f"0171/{r.randint(2, 9)}{digits(r, 6)}",
        f"+44 20 7946 {digits(r, 4)}",
        f"020 7946 {digits(r, 4)}",
        f"07{r.choice(['700', '911', '812'])} {digits(r, 6)}",
        f"06 {digits(r, 2)} {digits(r, 2)} {digits(r, 2)} {digits(r, 2)}",
        f"+33 6 {digits(r, 2)} {digits(r, 2)} {digits(r, 2)} {digits(r, 2)}",
        f"+34 6{digits(r, 2)} {digits(r, 3)} {digits(r, 3)}",
        f"13{r.randint(5, 9)} {digits(r, 4)} {digits(r, 4)}",
        f"138{digits(r, 8)}",
        f"+86 139 {digits(r, 4)} {digits(r, 4)}",
        f"+91 98{digits(r, 3)} {digits(r, 5)}",
        f"(11) 9{r.randint(6, 9)}{digits(r, 3)}-{digits(r, 4)}",
        f"+55 11 9{r.randint(6, 9)}{digits(r, 3)} {digits(r, 4)}",
        f"090-{r.randint(1, 9)}{digits(r, 3)}-{digits(r, 4)}",
        f"+39 347 {r.randint(1, 9)}{digits(r, 2)} {digits(r, 4)}",
    ]
    odd = [
        f"1-{area}-{exchange}-{line}",
        f"+1 ({area}) {exchange}-{line} x{r.randint(10, 99)}",
        f"0049 171 {r.randint(2, 9)}{digits(r, 6)}",
        f"06.{digits(r, 2)}.{digits(r, 2)}.{digits(r, 2)}.{digits(r, 2)}",
        f"+44 (0)20 7946 {digits(r, 4)}",
        f"+41 79 {r.randint(200, 899)} {digits(r, 2)} {digits(r, 2)}",
        f"+81 90 {r.randint(1000, 9999)} {digits(r, 4)}",
        f"+7 916 {digits(r, 3)}-{digits(r, 2)}-{digits(r, 2)}",
        f"+61 412 {digits(r, 3)} {digits(r, 3)}",
    ]
    fresh = [
        f"+1.{area}.{exchange}.{line}",
        f"(0171) {r.randint(2, 9)}{digits(r, 6)}",
        f"+49-30-{r.randint(200, 899)}{digits(r, 5)}",
    ]
    fresh += [
        f"+31 6 {r.randint(10, 58)} {digits(r, 3)} {digits(r, 3)}",
        f"+48 {r.choice(['501', '602', '790'])} {digits(r, 3)} {digits(r, 3)}",
    ]
    return r.choice(forms + odd + (fresh if held else []))


def doubled(number: str) -> str:
    """A number with the last digit of the card industry: every second digit from the right counts twice."""
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value // 10 + value % 10
    return number + str(-total % 10)


def card(random: Random, held: bool) -> str:
    long = doubled(random.choice(["4", "51", "55", "2221", "6011", "3530"]).ljust(4, "0") + digits(random, 11))
    amex = doubled(random.choice(["34", "37"]) + digits(random, 12))
    forms = [
        long,
        grouped(long, [4, 4, 4, 4], " "),
        grouped(long, [4, 4, 4, 4], "-"),
        amex,
        grouped(amex, [4, 6, 5], " "),
    ]
    nineteen = doubled("62" + digits(random, 16))
    odd = [grouped(long, [4, 4, 4, 4], "."), grouped(amex, [4, 6, 5], "-"), nineteen, " ".join(long)]
    odd += [grouped(doubled("4" + digits(random, 11)), [4, 4, 4], " "), grouped(long, [4, 4, 4, 4], "  ")]
    fresh = [grouped(long, [8, 8], " "), grouped(long, [4, 4, 4, 4], " - "), grouped(nineteen, [6, 13], " ")]
    return random.choice(forms + odd + (fresh if held else []))


def iban(random: Random, held: bool) -> str:
    shapes = [
        ("DE", 18, ""),
        ("ES", 20, ""),
        ("AT", 16, ""),
        ("PL", 24, ""),
        ("BE", 12, ""),
        ("CH", 17, ""),
        ("DK", 14, ""),
    ]
    shapes += [("GB", 14, "NWBK"), ("NL", 10, "INGB"), ("IE", 14, "AIBK")]
    country, count, bank = random.choice(
        [*shapes, ("SE", 20, ""), ("RO", 16, "AAAA")]
        + ([("FI", 14, ""), ("PT", 21, ""), ("LU", 16, "")] if held else [])
    )
    account = bank + digits(random, count)
    if country == "BE":  # the last two digits of an account there are the rest modulo 97
        account = account[:10] + f"{int(account[:10]) % 97 or 97:02d}"
    if country == "ES":
        weights = [1, 2, 4, 8, 5, 10, 9, 7, 3, 6]

        def check(part: str) -> str:
            rest = 11 - sum(int(d) * w for d, w in zip(part, weights, strict=True)) % 11
            return str({10: 1, 11: 0}.get(rest, rest))

        account = account[:8] + check("00" + account[:8]) + check(account[10:]) + account[10:]
    as_number = "".join(str(int(letter, 36)) for letter in account + country + "00")
    whole = f"{country}{98 - int(as_number) % 97:02d}{account}"
    forms = [whole, grouped(whole, [4] * 8, " ")]
    odd = [whole.lower(), grouped(whole, [4] * 8, "-")]
    return random.choice(forms + odd)


def national_id(random: Random, held: bool) -> str:
    r = random
    return r.choice([ssn, nino, german, french, spanish, italian, chinese, aadhaar, pan, brazilian])(r, held)


def ssn(random: Random, held: bool) -> str:
    parts = f"{random.randint(100, 665):03d}", f"{random.randint(1, 99):02d}", f"{random.randint(1, 9999):04d}"
    return random.choice(["-", " "] if held else ["-"]).join(parts)


def nino(random: Random, held: bool) -> str:
    first, number, last = random.choice(["AB", "CE", "JK", "WM"]), digits(random, 6), random.choice("ABCD")
    return random.choice([f"{first}{number}{last}", " ".join((first, number[:2], number[2:4], number[4:], last))])


def german(random: Random, held: bool) -> str:
    order = random.sample(DIGITS, 10)
    while order[0] == "0":
        random.shuffle(order)
    body = order[:9]
    body.insert(random.randint(1, 9), random.choice(body))  # one digit twice, one never
    while any(body[i] == body[i + 1] == body[i + 2] for i in range(8)):
        random.shuffle(body)
    product = 10
    for digit in body:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    whole = "".join(body) + str((11 - product) % 10)
    return random.choice([whole, grouped(whole, [2, 3, 3, 3], " ")])


def french(random: Random, held: bool) -> str:
    r = random
    body = f"{r.randint(1, 2)}{r.randint(30, 99)}{r.randint(1, 12):02d}{r.randint(21, 94)}"
    body += f"{r.randint(1, 400):03d}{r.randint(1, 999):03d}"
    whole = body + f"{97 - int(body) % 97:02d}"
    return r.choice([whole, grouped(whole, [1, 2, 2, 2, 3, 3, 2], " "), grouped(whole, [13, 2], " ")])


def spanish(random: Random, held: bool) -> str:
    letters, start = "TRWAGMYFPDXBNJZSQVHLCKE", random.choice(["", "", "X", "Y"])
    number = digits(random, 7 if start else 8)
    whole = start + number + letters[int({"": "", "X": "0", "Y": "1"}[start] + number) % 23]
    return random.choice([whole, f"{whole[:-1]}-{whole[-1]}"])


def italian(random: Random, held: bool) -> str:
    r = random
    body = some(r, "BCDFGLMNPRSTVZ", 6) + f"{r.randint(30, 99)}{r.choice('ABCDEHLMPRST')}{r.randint(1, 28):02d}"
    body += r.choice("FHLAG") + f"{r.randint(101, 899)}"
    places = "1 0 5 7 9 13 15 17 19 21 1 0 5 7 9 13 15 17 19 21 2 4 18 20 11 3 6 8 12 14 16 10 22 25 24 23"
    odd = dict(zip(DIGITS + UPPER, map(int, places.split()), strict=True))
    total = sum(odd[c] if i % 2 == 0 else (int(c) if c.isdigit() else UPPER.index(c)) for i, c in enumerate(body))
    whole = body + UPPER[total % 26]
    return whole.lower() if held and r.random() < 0.3 else whole


def chinese(random: Random, held: bool) -> str:
    r = random
    body = (
        r.choice(["110101", "310104", "440305", "510107"])
        + f"{r.randint(1940, 2015)}{r.randint(1, 12):02d}{r.randint(1, 28):02d}"
    )
    body += digits(r, 3)
    total = sum(int(d) * w for d, w in zip(body, [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2], strict=True))
    whole = body + "10X98765432"[total % 11]
    return r.choice([whole, whole.lower()])


def aadhaar(random: Random, held: bool) -> str:
    def turn(a: int, b: int) -> int:  # the group of a pentagon: turns and flips
        first, second = (a, b) if a < 5 else (a - 5, b)
        if a < 5:
            return (first + second) % 5 if second < 5 else (first + second - 5) % 5 + 5
        return (first - second) % 5 + 5 if second < 5 else (first - (second - 5)) % 5

    shuffle, body = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4], str(random.randint(2, 9)) + digits(random, 10)

    def whole(number: str) -> int:
        value = 0
        for place, digit in enumerate(reversed(number)):
            turned = int(digit)
            for _ in range(place % 8):
                turned = shuffle[turned]
            value = turn(value, turned)
        return value

    number = next(body + last for last in DIGITS if whole(body + last) == 0)
    return random.choice([number, grouped(number, [4, 4, 4], " ")])


def pan(random: Random, held: bool) -> str:
    return (
        some(random, UPPER, 3)
        + random.choice("PCFH")
        + random.choice(UPPER)
        + f"{random.randint(1, 9999):04d}"
        + random.choice(UPPER)
    )


def brazilian(random: Random, held: bool) -> str:
    body = digits(random, 9)
    for _ in range(2):
        rest = sum(int(digit) * (place + 2) for place, digit in enumerate(reversed(body))) * 10 % 11
        body += str(rest % 10)
    return random.choice([body, f"{body[:3]}.{body[3:6]}.{body[6:9]}-{body[9:]}"])


def ip(random: Random, held: bool) -> str:
    r = random
    four = ".".join(str(r.randint(1, 254)) for _ in range(4))
    groups = [f"{r.randint(4096, 65535):x}" for _ in range(8)]
    groups[0] = "2001"
    forms = [
        four,
        four,
        f"192.168.{r.randint(0, 255)}.{r.randint(1, 254)}",
        ":".join(groups),
        f"2001:db8::{groups[4]}:{groups[5]}",
    ]
    odd = [f"fe80::{groups[3]}:{groups[4]}:{groups[5]}:{groups[6]}", f"::ffff:{four}", ":".join(groups).upper()]
    fresh = [
        f"10.{r.randint(0, 255)}.0.{r.randint(1, 254)}",
        f"2001:0db8:0:0:0:0:{groups[6]}:{groups[7]}",
        f"2a02:{groups[1]}::1",
    ]
    return r.choice(forms + odd + (fresh if held else []))


def api_key(random: Random, held: bool) -> str:
    r = random
    forms = [
        "AKIA" + some(r, UPPER + "234567", 16),
        "ghp_" + some(r, ALNUM, 36),
        "sk-" + some(r, ALNUM, 48),
        "sk-ant-api03-" + some(r, ALNUM + "-_", 80) + "AA",
        "sk-proj-" + some(r, ALNUM, 60),
        f"xoxb-{digits(r, 12)}-{digits(r, 12)}-{some(r, ALNUM, 24)}",
        "AIza" + some(r, ALNUM + "-_", 34) + "x",
        "sk_live_" + some(r, ALNUM, 24),
    ]
    odd = [
        "github_pat_" + some(r, ALNUM, 22) + "_" + some(r, ALNUM, 59),
        "glpat-" + some(r, ALNUM, 20),
        "rk_live_" + some(r, ALNUM, 24),
        "ASIA" + some(r, UPPER + "234567", 16),
        "hf_" + some(r, string.ascii_letters, 34),
        "npm_" + some(r, ALNUM, 36),
    ]
    fresh = [
        "SG." + some(r, ALNUM, 22) + "." + some(r, ALNUM, 43),
        "whsec_" + some(r, ALNUM, 32),
        "xapp-1-A" + some(r, UPPER + DIGITS, 10) + "-" + digits(r, 13),
    ]
    return r.choice(forms + odd + (fresh if held else []))


def token(random: Random, held: bool) -> str:
    def coded(text: str) -> str:
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    claims = f'{{"sub":"{digits(random, 8)}","exp":{digits(random, 10)}}}'
    head = coded('{"alg":"HS256","typ":"JWT"}')
    web = f"{head}.{coded(claims)}.{some(random, ALNUM, 43)}"
    forms = [web, some(random, ALNUM, 40), some(random, "0123456789abcdef", 64)]
    odd = [some(random, ALNUM + "-_", 30) + "9aZ", "ya29." + some(random, ALNUM + "-_", 60) + "7"]
    fresh = [base64.b64encode(some(random, ALNUM, 32).encode()).decode(), some(random, ALNUM, 24)]
    return random.choice(forms + odd + (fresh if held else []))


def private_key(random: Random, held: bool) -> str:
    label = random.choice(["RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY"])
    if held:
        label = random.choice([label, "ENCRYPTED PRIVATE KEY", "DSA PRIVATE KEY"])
    lines = [some(random, ALNUM + "+/", 64) for _ in range(random.randint(3, 20))]
    body = "\n".join([*lines, some(random, ALNUM, 20) + "=="])
    if held and random.random() < 0.2:
        body = body.replace("\n", "\\n")
        return f"-----BEGIN {label}-----\\n{body}\\n-----END {label}-----"
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----"


def password(random: Random, held: bool) -> str:
    word = random.choice(["hunter", "Sommer", "dragon", "Lisbon", "katze", "qwerty"])
    forms = [
        f"{word}{random.randint(1, 9999)}",
        f"{word}!{random.randint(1, 99)}",
        f"Tr0ub4dor&{random.randint(1, 9)}",
        some(random, ALNUM, 6) + "7k" + some(random, "!#$%&*", 2),
        f"{word}_{some(random, LOWER, 4)}X",
        f"correct-horse-{word}-{random.randint(1, 9)}",
    ]
    odd = [
        f"{word}{word.upper()}",
        f"{random.randint(10**5, 10**9)}",
        f"p@ss{word}",
        f"{word.capitalize()}#{some(random, LOWER, 3)}",
        word,
    ]
    fresh = [
        f"{word}.{random.randint(10, 99)}",
        f"{random.randint(10, 99)}{word.upper()}",
        some(random, ALNUM, 14) + "5",
        f"{word}{word}",
    ]
    return random.choice(forms + odd + (fresh if held else []))


def name(random: Random, held: bool) -> str:
    whole = random.choice(NAMES)
    forms = [whole, whole, whole.upper(), whole.lower()]
    return random.choice([*forms, whole.title()] if held else forms)


MAKERS: dict[str, Maker] = {
    "email": email, "phone": phone, "card": card, "iban": iban, "national-id": national_id, "ip": ip, "api-key": api_key,
    "token": token, "private-key": private_key, "password": password, "name": name,
}  # fmt: skip
