"""Function words by language: they tell languages apart, and are left out of queries that have other words.

After the lists of the Snowball project (BSD-3-Clause), folded the way `analysis.fold` folds text (no accents, "ss" for
"ß"), contractions cut at the apostrophe.
"""

from __future__ import annotations

_LISTS = {
    "en": """
        i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
        it its itself they them their theirs themselves what which who whom this that these those am is are was were be
        been being have has had having do does did doing would should could ought a an the and but if or because as
        until while of at by for with about against between into through during before after above below to from up
        down in out on off over under again further then once here there when where why how all any both each few more
        most other some such no nor not only own same so than too very can will just now s t d ll m o re ve y don didn
        doesn isn aren wasn weren hasn haven hadn won wouldn shouldn couldn ain shan mustn needn mightn
        im ive dont didnt doesnt isnt cant wont thats whats""",
    "de": """
        aber alle allem allen aller alles als also am an ander andere anderem anderen anderer anderes anders auch auf
        aus bei bin bis bist da damit dann das dass dasselbe dazu dein deine deinem deinen deiner deines dem den denn
        der derer des dessen dich die dies diese diesem diesen dieser dieses dir doch dort du durch ein eine einem
        einen einer eines einig einige einigem einigen einiger einiges einmal er es etwas euch euer eure eurem euren
        eurer fur gegen gewesen hab habe haben hat hatte hatten hattest hattet hier hin hinter ich ihm ihn ihnen ihr
        ihre ihrem ihren ihrer ihres im in indem ins ist jede jedem jeden jeder jedes jene jenem jenen jener jenes
        jetzt kann kein keine keinem keinen keiner keines konnen konnte machen man manche manchem manchen mancher
        manches mein meine meinem meinen meiner meines mich mir mit muss musste nach nicht nichts noch nun nur ob oder
        ohne sehr sein seine seinem seinen seiner seines selbst sich sie sind so solche solchem solchen solcher solches
        soll sollte sondern sonst uber um und uns unser unsere unserem unseren unserer unter viel vom von vor wahrend
        wann war waren warst warum was weg weil weiter welche welchem welchen welcher welches wem wen wenn wer werde
        werden wessen wie wieder wieso will wir wird wirst wo woher wohin wollen wollte wurde wurden zu zum zur zwar
        zwischen""",
    "fr": """
        au aux avec ce ces cet cette dans de des du elle elles en et eux il ils je la le les leur leurs lui ma mais me
        meme mes moi mon ne nos notre nous on ou par pas pour qu que quel quelle quels quelles qui sa se ses son sont
        sur ta te tes toi ton tu un une vos votre vous c d j l m n s t y est ete etee etees etes etant suis es sommes
        etes serai sera serons seront etais etait etions etaient fus fut avoir ai as a avons avez ont eu eue avais
        avait avions avaient aura auront comment quand pourquoi quoi ou dont si tout tous toute toutes plus tres""",
    "es": """
        de la que el en y a los del se las por un para con no una su al lo como mas pero sus le ya o este si porque
        esta entre cuando muy sin sobre tambien me hasta hay donde quien desde todo nos durante todos uno les ni contra
        otros ese eso ante ellos e esto mi antes algunos unos yo otro otras otra el tanto esa estos mucho quienes nada
        muchos cual poco ella estar estas algunas algo nosotros mis tu te ti tus ellas vosotros es soy eres somos son
        sea era eras eran fue fueron siendo sido estoy esta estamos estan estaba estaban he has ha hemos han habia
        habian tengo tienes tiene tenemos tienen tenia cuales cuanto adonde""",
    "it": """
        ad al allo ai agli alla alle con col coi da dal dallo dai dagli dalla dalle di del dello dei degli della delle
        in nel nello nei negli nella nelle su sul sullo sui sugli sulla sulle per tra contro io tu lui lei noi voi loro
        mio mia miei mie tuo tua tuoi tue suo sua suoi sue nostro nostra vostro vostra mi ti ci vi lo la li le gli ne
        il un uno una ma ed se perche anche come dove dov che chi cui non piu quale quanto quanti quando quella quelle
        quello quelli questa queste questi questo si tutto tutti a c e i l o ho hai ha abbiamo avete hanno aveva sono
        sei siamo siete era erano fu sia stato stata cosa""",
    "pt": """
        de a o que e do da em um para com nao uma os no se na por mais as dos como mas ao ele das seu sua ou quando
        muito nos ja eu tambem so pelo pela ate isso ela entre depois sem mesmo aos seus quem nas me esse eles voce
        essa num nem suas meu minha numa pelos elas qual lhe deles essas esses pelas este dele tu te voces lhes meus
        minhas teu tua nosso nossa dela delas esta estes estas aquele aquela isto aquilo estou estamos estao estava
        foi foram era eram ser sido sou somos tem temos tenho tinha havia ha onde porque""",
    "nl": """
        de en van ik te dat die in een hij het niet zijn is was op aan met als voor had er maar om hem dan zou of wat
        mijn men dit zo door over ze zich bij ook tot je mij uit der daar haar naar heb hoe heeft hebben deze u want
        nog zal me zij nu ge geen omdat iets worden toch al waren veel meer doen toen moet ben zonder kan hun dus alles
        onder ja eens hier wie werd altijd doch wordt wezen kunnen ons zelf tegen na reeds wil kon niets uw iemand
        geweest andere waar wanneer waarom welke""",
    "sv": """
        och det att i en jag hon som han pa den med var sig for sa till ar men ett om hade de av icke mig du henne da
        sin nu har inte hans honom skulle hennes dar min man ej vid kunde nagot fran ut nar efter upp vi dem vara vad
        over an dig kan sina har ha mot alla under nagon eller allt mycket sedan ju denna sjalv detta at utan varit hur
        ingen mitt ni bli blev oss din dessa nagra deras blir mina samma vilken er sadan var blivit dess inom mellan
        sadant varfor varje vilka ditt vem vilket""",
    "ru": """
        и в во не что он на я с со как а то все она так его но да ты к у же вы за бы по только ее мне было вот от меня
        еще нет о из ему теперь когда даже ну вдруг ли если уже или ни быть был него до вас нибудь опять уж вам ведь
        там потом себя ничего ей может они тут где есть надо ней для мы тебя их чем была сам чтоб без будто чего раз
        тоже себе под будет ж тогда кто этот того потому этого какой совсем ним здесь этом один почти мой тем чтобы нее
        сейчас были куда зачем всех можно при об хоть над больше тот через эти нас про них какая много разве эту моя
        свою этой перед иногда лучше чуть том такой им более всю между""",
}
# Chinese and Japanese characters and syllables that carry grammar rather than meaning.
FUNCTION_CHARACTERS = frozenset(
    "的了吗呢吧啊着过是在有和与及就都也很不没我你您他她它们这那哪什么怎谁为被把给让从到对向于以而或但之其所因如"
    "はがをにへとでもやのかねよわだですまたりてれらいうえこそあなどおせっんし"
)

STOPWORDS: dict[str, frozenset[str]] = {language: frozenset(words.split()) for language, words in _LISTS.items()}


def _weights() -> dict[str, tuple[tuple[str, float], ...]]:
    found: dict[str, list[str]] = {}
    for language, words in STOPWORDS.items():
        for word in words:
            found.setdefault(word, []).append(language)
    return {word: tuple((each, 1 / len(languages)) for each in languages) for word, languages in found.items()}


# How much a function word speaks for each language it belongs to: words of one language speak loudest.
LANGUAGE_WEIGHTS = _weights()
