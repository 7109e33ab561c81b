"""Words that dates are made of, by language: data only.

Each word gets one letter, its code, and a value. `named_dates` and `relative_dates` describe phrases as patterns over
the letters, so that one pattern reads "last Friday", "letzten Freitag" and "le dernier vendredi". Words are written in
small letters; `a/b=3` gives both words the value 3.

    M month  m month that is also a common word  J short month name (a full stop may follow)
    W weekday  w short weekday name  y day  U week, month, year, decade  K weekend  u any of these in the plural
    D part of the day  S season  R day counted from today  X tomorrow, or morning  H feast  v "eve"  n "new"
    L last  N next  T this  P past (up to now)  l last, r next (after the noun)  A ago  V ago (before the number)
    a article that counts as one  c number  q vague number (low-high)  k ordinal word  h half  x "other"  G "now"
    t the  f of  i in  O on  b before  F after  p since, until, by, from  j over, around, at  & and, to  E every
    e early, mid, late  g the same, but only with "of"  ~ a word that cannot be counted by the number before it
"""

from __future__ import annotations

from typing import Final

Value = int | str | tuple[int, int]

_EN: Final = {
    "M": "january=1 february=2 april=4 june=6 july=7 august=8 september=9 october=10 november=11 december=12",
    "m": "may=5 march=3",
    "J": "jan=1 feb=2 mar=3 apr=4 jun=6 jul=7 aug=8 sep/sept=9 oct=10 nov=11 dec=12",
    "W": "monday=0 tuesday=1 wednesday=2 thursday=3 friday=4 saturday=5 sunday=6",
    "w": "mon=0 tue/tues=1 wed=2 thu/thur/thurs=3 fri=4 sat=5 sun=6",
    "y": "day=day",
    "U": "week=week month=month year=year decade=decade",
    "K": "weekend=weekend",
    "u": "days=day weeks=week months=month years=year decades=decade weekends=weekend",
    "D": "morning=0 noon=0 afternoon=0 evening=0 night=-1",
    "S": "spring=spring summer=summer autumn/fall=autumn winter=winter",
    "R": "yesterday=-1 today=0 tonight=0 tomorrow=1",
    "G": "now=0",
    "H": "christmas/xmas=christmas halloween=halloween thanksgiving=thanksgiving easter=easter "
    "valentine/valentines=valentine",
    "v": "eve=1",
    "n": "new=1",
    "L": "last/previous=-1",
    "P": "past=-1",
    "N": "next/coming/upcoming=1",
    "T": "this/current=0",
    "A": "ago/back=1",
    "a": "a/an=1",
    "c": "one=1 two=2 three=3 four=4 five=5 six=6 seven=7 eight=8 nine=9 ten=10 eleven=11 twelve=12 fifteen=15 "
    "twenty=20 thirty=30 forty=40 fifty=50",
    "q": "couple=2-3 few=2-5 several=3-7",
    "k": "first=1 second=2 third=3 fourth=4",
    "h": "half=1",
    "x": "other=1",
    "t": "the=1",
    "f": "of=1",
    "i": "in=1",
    "O": "on=1",
    "b": "before=before",
    "F": "after=after",
    "p": "since=since until/till=until by=until from=from during/throughout/through=in",
    "j": "over/around/at/for/about=in between=between",
    "&": "and/to/or=1",
    "E": "every/each/most/per=1",
    "e": "early/earlier=early mid=mid late/later=late",
    "g": "start/beginning=early middle=mid end=late",
    "~": "was were is are am had did has have will would can when while but because if i we he she they it you my our "
    "with that so then as",
}
_DE: Final = {
    "M": "januar/jänner=1 februar=2 märz/maerz=3 april=4 mai=5 juni=6 juli=7 august=8 september=9 oktober=10 "
    "november=11 dezember=12",
    "J": "jan=1 feb=2 mär=3 apr=4 jun=6 jul=7 aug=8 sep/sept=9 okt=10 nov=11 dez=12",
    "W": "montag=0 dienstag=1 mittwoch=2 donnerstag=3 freitag=4 samstag/sonnabend=5 sonntag=6 "
    "montagabend=0 dienstagabend=1 mittwochabend=2 donnerstagabend=3 freitagabend=4 samstagabend=5 sonntagabend=6",
    "w": "mo=0 di=1 mi=2 do=3 fr=4 sa=5 so=6",
    "y": "tag=day",
    "U": "woche=week monat/monats=month jahr/jahre/jahres=year jahrzehnt=decade",
    "K": "wochenende/wochenendes=weekend",
    "u": "tage/tagen=day wochen=week monate/monaten=month jahren=year jahrzehnte/jahrzehnten=decade "
    "wochenenden=weekend",
    "D": "früh=0 vormittag=0 mittag=0 nachmittag=0 abend=0 nacht=-1",
    "S": "frühling/frühjahr=spring sommer=summer herbst=autumn winter=winter",
    "R": "gestern=-1 vorgestern=-2 heute=0 übermorgen=2",
    "X": "morgen=1",
    "H": "weihnachten=christmas heiligabend=christmas_eve silvester=new_year_eve neujahr=new_year ostern=easter "
    "pfingsten=pentecost",
    "L": "letzte/letzten/letzter/letztes/letztem/vergangene/vergangenen/vergangener/vergangenes/vorige/vorigen/voriger/"
    "voriges=-1 vorletzte/vorletzten/vorletzter/vorletztes=-2",
    "N": "nächste/nächsten/nächster/nächstes/nächstem/kommende/kommenden/kommender/kommendes=1 "
    "übernächste/übernächsten/übernächster/übernächstes=2",
    "T": "diese/diesen/dieser/dieses/diesem=0",
    "V": "vor=before",
    "c": "ein/eine/einem/einer/einen=1 zwei=2 drei=3 vier=4 fünf=5 sechs=6 sieben=7 acht=8 neun=9 zehn=10 elf=11 "
    "zwölf=12 fünfzehn=15 zwanzig=20 dreißig=30",
    "q": "paar=2-5 einigen/einige/wenigen/wenige=2-5 mehreren/mehrere=3-7",
    "k": "erste/ersten=1 zweite/zweiten=2 dritte/dritten=3 vierte/vierten=4",
    "h": "halben/halbes=1",
    "t": "der/den/dem/die/das/des=1",
    "f": "von/vom=1",
    "i": "in/im=1",
    "O": "am=1",
    "F": "nach=after",
    "p": "seit=since bis=until ab=onward",
    "j": "um/über/gegen/zu=in",
    "&": "und/oder=1",
    "E": "jede/jeden/jeder/jedes/jedem=1",
    "e": "anfang=early mitte=mid ende=late",
    "~": "war waren ist sind hatte haben habe hat wurde ich wir er sie es als dass wenn weil aber mit für",
}
_FR: Final = {
    "M": "janvier=1 février=2 avril=4 mai=5 juin=6 juillet=7 août/aout=8 septembre=9 octobre=10 "
    "novembre=11 décembre=12",
    "m": "mars=3",
    "J": "janv=1 févr=2 avr=4 juil=7 sept=9 oct=10 nov=11 déc=12",
    "W": "lundi=0 mardi=1 mercredi=2 jeudi=3 vendredi=4 samedi=5 dimanche=6",
    "y": "jour=day",
    "U": "semaine=week mois=month an/année=year",
    "K": "week-end/weekend=weekend",
    "u": "jours=day semaines=week ans/années=year",
    "D": "matin=0 midi=0 après-midi=0 soir=0 nuit=-1",
    "S": "printemps=spring été=summer automne=autumn hiver=winter",
    "R": "hier=-1 avant-hier=-2 aujourd'hui/aujourd’hui=0 demain=1 après-demain=2",
    "H": "noël=christmas pâques=easter",
    "l": "dernier/dernière/derniers/dernières/passé/passée=-1",
    "r": "prochain/prochaine/prochains/prochaines=1",
    "T": "ce/cet/cette=0",
    "V": "il\N{NO-BREAK SPACE}y\N{NO-BREAK SPACE}a=before",
    "c": "un/une=1 deux=2 trois=3 quatre=4 cinq=5 six=6 sept=7 huit=8 neuf=9 dix=10 onze=11 douze=12 "
    "vingt=20 trente=30",
    "q": "quelques=2-5 plusieurs=3-7",
    "t": "le/la/les/l=1",
    "f": "de/du/d=1",
    "i": "en/dans/au=1",
    "b": "avant=before",
    "F": "après=after",
    "p": "depuis=since jusqu=until dès=onward",
    "j": "à/pour/vers/pendant=in",
    "&": "et/ou=1",
    "E": "chaque/tous=1",
    "e": "début=early mi=mid fin=late",
    "g": "milieu=mid",
    "~": "était est sont avait ont je nous il elle ils quand mais avec",
}
_ES: Final = {
    "M": "enero=1 febrero=2 marzo=3 abril=4 mayo=5 junio=6 julio=7 agosto=8 septiembre/setiembre=9 octubre=10 "
    "noviembre=11 diciembre=12",
    "J": "ene=1 feb=2 abr=4 ago=8 sept=9 oct=10 nov=11 dic=12",
    "W": "lunes=0 martes=1 miércoles=2 jueves=3 viernes=4 sábado=5 domingo=6",
    "y": "día=day",
    "U": "semana=week mes=month año=year década=decade",
    "K": "fin\N{NO-BREAK SPACE}de\N{NO-BREAK SPACE}semana=weekend",
    "u": "días=day semanas=week meses=month años=year",
    "D": "tarde=0 noche=0 mediodía=0",
    "S": "primavera=spring verano=summer otoño=autumn invierno=winter",
    "R": "ayer=-1 anteayer/antier=-2 anoche=-1 hoy=0",
    "X": "mañana=1",
    "H": "navidad=christmas nochebuena=christmas_eve nochevieja=new_year_eve",
    "l": "pasado/pasada=-1",
    "L": "último/última/últimos/últimas=-1",
    "r": "próximo/próxima/próximos/próximas/que\N{NO-BREAK SPACE}viene=1",
    "T": "este/esta=0",
    "V": "hace=before",
    "c": "un/una=1 dos=2 tres=3 cuatro=4 cinco=5 seis=6 siete=7 ocho=8 nueve=9 diez=10 once=11 "
    "doce=12 veinte=20 treinta=30",
    "q": "unos/unas/pocos/pocas=2-5 varios/varias=3-7",
    "t": "el/la/los/las=1",
    "f": "de/del=1",
    "i": "en/dentro=1",
    "b": "antes=before",
    "F": "después=after",
    "p": "desde=since hasta=until",
    "j": "a/para/durante=in",
    "&": "y/o=1",
    "E": "cada/todos/todas=1",
    "g": "principios/comienzos=early mediados=mid finales/fines=late",
    "~": "era es son fue había yo nosotros ella cuando pero con",
}
TABLES: Final = {"en": _EN, "de": _DE, "fr": _FR, "es": _ES}
# These mean something else in another language, so they count only in a text known to be in their own.
AMBIGUOUS: Final = frozenset(
    """
    mar mars mai sept do so mi di mo sa fr an a o y on am um es un une die den des tag ab ende fin la le el en mes
    mois morgen hier este esta été tarde passé pasado pasada once six dos tres von
    """.split()
)
# How a sentence shows whether it tells of what will be, of what was (for certain, or probably), or of what is.
FUTURE: Final = {
    "en": r"\b(?:will|won['’]t|gonna|going to|plan|plans|planning|hope|hoping|looking forward|can['’]t wait|"
    r"upcoming|soon|coming up|let['’]s|shall|schedul\w{1,5}|sign(?:ed|ing)? up|invit\w{1,4}|prepar\w{1,4}|"
    r"excited (?:for|about|to)|see you|due|deadline|next|tomorrow|want to|ready for|booked)\b|['’]ll\b",
    "de": r"\b(?:werden?|wirst|wird|wollen|will|plane|planen|geplant|bald|freuen?|möchten?|demnächst|"
    r"nächste\w?|morgen)\b",
    "fr": r"\b(?:vais|vas|va|allons|allez|vont|bientôt|prévois|prochaine?|demain)\b|(?:rai|ras|rons|rez|ront)\b",
    "es": r"\b(?:voy|vas|va|vamos|van|pronto|próxim[oa]|mañana)\b|r(?:é|ás|á|emos|án)\b",
}
SURELY_PAST: Final = {
    "en": r"\b(?:was|were|did|had|ago|(?:was|were|did|had|could)n['’]t)\b",
    "de": r"\b(?:war|waren|warst|hatten?|hattest|wurden?|gestern)\b",
    "fr": r"\b(?:étais|était|étions|étaient|avais|avait|avions|avaient|hier)\b",
    "es": r"\b(?:fui|fue|fuimos|fueron|era|eran|estaba|estuve|estuvo|estuvimos|había|ayer)\b",
}
PAST: Final = {
    "en": r"\b(?:went|got|made|took|saw|met|came|spent|began|bought|found|won|lost|gave|told|said|been)\b|"
    r"[a-z](?<!ne)ed\b",
    "de": r"\b(?:habe|haben|hat|hast|ging|gingen|kam|kamen)\b|te[nt]?\b",
    "fr": r"\b(?:ai|as|avons|avez|ont|allée?s?|fut)\b",
    "es": r"\b(?:hice|hizo|tuve|tuvo)\b|(?:é|ó|imos|aron|ieron)\b",
}
PRESENT: Final = {
    "en": r"\b(?:is|are|am)\b|['’](?:s|re|m)\b",
    "de": r"\b(?:ist|sind|bin|findet|beginnt|startet|fahren|fahre|fliegen?|kommt|kommen|gehen?)\b",
    "fr": r"\b(?:est|sont|suis|commence)\b",
    "es": r"\b(?:es|son|está|empieza)\b",
}
