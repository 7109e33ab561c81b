"""Passwords that people tell in sentences, settings and addresses.

A sentence about a password ("my password is safe") is told from one that gives it away by what follows: digits, marks or
mixed letters are a password; a plain word only where it ends the clause and is none that people say of passwords.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]

_WORDS = (
    r"(?:pass ?words?|pass ?phrase|pass ?code|passwd|passwort|kennwort|losung|pwd|pw|mot de passe|mdp|contrasena|clave|senha"
    r"|palavra-passe|wachtwoord|parola d'ordine|haslo|losenord|adgangskode|parole|salasana|sifre|parola|пароль\w*)"
)
_CJK = r"(?:密码|密碼|口令|パスワード|暗証番号|비밀번호|암호)"
_FOR = r"(?: (?:for|to|of|on|from|fur|zum|zur|vom|von|am|de|del|du|pour|para|do|da|per|di|van|voor)\b[^.:;=!?\n\"]{1,40}?)?"
_IS = (
    r"(?: ?(?::|=|=>|->) ?| (?:is|was|ist|war|lautet|est|c'est|es|era|e|to|auf|in|til|jest|ar|to:|are|als|a)"
    r"(?: (?:now|jetzt|still|set to|just))?:? |'s )"
)
_CJK_IS = r"(?: ?(?::|=|是|为|為|は|が|는|은|->) ?)"
_VALUE = r"(?P<quote>[\"'`<*]?)(?P<value>[^\s\"`<>]{3,128})"

_TOLD = re.compile(rf"(?:(?<![a-z]){_WORDS}{_FOR}{_IS}|{_CJK}{_CJK_IS}){_VALUE}", re.IGNORECASE)
_SAID = re.compile(rf"(?<![a-z]){_WORDS} {_VALUE}", re.IGNORECASE)  # "with password x"
_SETTING = re.compile(
    rf"(?<![a-z])[a-z0-9_.]{{0,30}}(?:password|passwd|pwd|pass)[\"']?(?:=|: ?| = |:=) ?{_VALUE}", re.IGNORECASE
)
_OPTION = re.compile(rf"(?<![\w-])--?(?:password|passwd|pass)[= ]{_VALUE}", re.IGNORECASE)
_PIN = re.compile(
    r"(?<![a-z])pin(?:-?code)?(?: (?:is|ist|est|es|was)|:| =|=)? ?(?P<value>[0-9]{4,8})(?![0-9]|[.,:/-][0-9])",
    re.IGNORECASE,
)
_IN_ADDRESS = re.compile(r"[a-z]://[^\s:/@]{1,64}:(?P<value>[^\s/@]{1,128})@", re.IGNORECASE)
_BACKWARDS = re.compile(
    r"(?<!\S)(?P<quote>[\"'`]?)(?P<value>[^\s\"'`]{4,128})[\"'`]?,? (?:is|as|ist|est|es|was|e)"
    r" (?:(?:my|the|your|our|mein|das|mon|le|mi|la|a|minha) )(?:[a-z-]{2,12} )?"
    r"(?:password|passwort|kennwort|mot de passe|contrasena|senha|passphrase|passcode|pw|pwd)(?!\w)",
    re.IGNORECASE,
)

# None of the patterns matches where none of these stands; most texts need not be looked at any closer.
_HINTS = (
    "mot de passe",
    "palavra-passe",
    *(
        "pass pw pin :// kennwort losung parol mdp contrasena clave senha wachtwoord haslo losenord adgangskode salasana sifre "
        "пароль 密码 密碼 口令 パスワード 暗証番号 비밀번호 암호"
    ).split(),
)

# What people say of passwords, in the folded form; besides words that end like the ones below.
_NOT_ONE = frozenset(
    """safe secure strong weak long short good bad wrong right correct invalid valid required optional empty blank none null
    missing hidden secret private public personal mine yours ours theirs his hers there here gone lost old new same different
    unique simple easy hard difficult complex important necessary enough not never always still also very too really just now
    about for the your our their his her this that these those what which who when where how why all any some one two both
    true false yes okay fine great terrible awful horrible stupid silly ridiculous funny crazy case-sensitive alphanumeric
    unknown random default temporary permanent ok out down up off like and but yet with without from into than then him them
    nothing something anything everything nobody back again today tomorrow yesterday soon later manager reset field hint policy
    changes change expires protection file login hash generator box sie ihr mir dir uns euch
    sicher unsicher stark schwach lang kurz falsch richtig korrekt leer neu alt geheim gut schlecht wichtig ungultig gultig weg
    leider nicht kein keine noch immer schon sehr auch nur jetzt hier dort anders gleich einfach schwer erforderlich bitte
    sur forte faible longue court courte trop tres pas bon mauvais faux correcte vide nouveau ancien secrete secret obligatoire
    requis perdu oublie incorrecte toujours jamais aussi valide invalide expire
    segura seguro debil fuerte larga corta corto muy mala buena mal bien incorrecta correcta vacia nueva vieja secreta obligatoria
    obligatorio necesaria requerida perdida igual siempre nunca tambien demasiado coisa fraca curta longa errada certa importante
    sicura debole lunga corta sbagliata giusta vuota nuova vecchia segreta obbligatoria
    uma una un eine einen ein une des les""".split()
)
_NOT_ONE_COMPOUND = (
    "secure",
    "correct",
    "valid",
    "known",
    "sicher",
    "richtig",
    "gultig",
    "bekannt",
    "segura",
    "seguro",
    "sicura",
)
_ENDINGS = (
    "ed",
    "ing",
    "able",
    "ible",
    "ful",
    "ive",
    "less",
    "ous",
    "ly",
    "ary",
    "ig",
    "lich",
    "isch",
    "bar",
    "los",
    "haft",
    "alt",
    "ado",
    "ada",
    "ido",
    "ida",
    "ato",
    "ata",
    "uto",
    "uta",
    "ique",
    "eux",
    "euse",
    "aire",
    "oire",
    "orio",
    "oria",
    "oso",
    "osa",
    "isimo",
    "isima",
    "issimo",
    "issima",
)
_CLAUSE_ENDS = re.compile(
    r"[\"'`>*)\]]?(?:[.!?,;:)](?:\s|$|[^\x00-\x7f])| ?$|\s*\n| (?:and|und|et|y|e|if|falls|by the way|btw|lol|but|aber|or|oder|so"
    r"|because|weil|please|bitte|thanks|danke)\b)"
)
_SPACELESS = re.compile("[\u3000-\ua4cf\uac00-\ud7ff\uf900-\ufaff]")
_MASKED = re.compile(r"[*•xX.#_-]+|\$?\{.*|<.*|%\w*%?|\[.*")


class Passwords:
    """Passwords behind words for them in a dozen languages, in settings, options and addresses; PINs behind "PIN"."""

    kind = "password"

    def find(self, text: str) -> Iterator[Span]:
        """The password alone, without the words before it."""
        small = text.casefold()
        if not any(hint in small for hint in _HINTS):
            return
        for regex, plain in ((_TOLD, True), (_SETTING, True), (_OPTION, True), (_SAID, False), (_BACKWARDS, False)):
            for match in regex.finditer(text):
                start, end = _trimmed(text, *match.span("value"), quoted=bool(match.group("quote")))
                given = text[match.start() : start].rstrip(" \"'`<*")[-1:] in (":", "=")
                if self._is_password(text, start, end, plain=plain, given=given or bool(match.group("quote"))):
                    yield start, end
        for regex in (_PIN, _IN_ADDRESS):
            for match in regex.finditer(text):
                yield match.span("value")

    @staticmethod
    def _is_password(text: str, start: int, end: int, *, plain: bool, given: bool) -> bool:
        found = text[start:end]
        if end - start < 3 or not (found[0].isascii() or found.isalnum()) or _MASKED.fullmatch(found):
            return False
        if found.isalpha() or found.replace("-", "").replace("'", "").isalpha():
            low = found.casefold()
            if low in _NOT_ONE or any(low.endswith(said) for said in _NOT_ONE_COMPOUND):
                return False
            if found.isascii() and found.isalpha() and not (found.islower() or found.isupper() or found.istitle()):
                return True  # mixed inside
            if given:
                return found.isascii()
            likely = plain and found.isascii() and len(found) >= 4 and not low.endswith(_ENDINGS) and "'" not in low
            return likely and bool(_CLAUSE_ENDS.match(text, end))
        if not plain and not given:
            marks = any(char in "_!@#$%&*+=^~" for char in found[:-1])
            if found.isdecimal():
                return len(found) > 4
            return marks or (any(char.isdigit() for char in found) and any(not char.isdigit() for char in found))
        return any(
            char.isdigit() or (char.isascii() and not char.isalnum()) for char in found
        ) and not found.startswith("//")


def _trimmed(text: str, start: int, end: int, *, quoted: bool) -> Span:
    """Without what closes the clause; a mark that may well belong to it stays."""
    for place in range(start, end):  # Chinese puts no space before what follows
        if _SPACELESS.match(text, place):
            end = place
            break
    while end > start and text[end - 1] in ".,;:)]}>\"'`":
        end -= 1
    if quoted and end < len(text) and text[end - 1 : end] == "*":
        end -= 1
    return start, end
