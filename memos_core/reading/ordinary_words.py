"""Words that are written with a capital only because a sentence begins, or to stress them: data only.

No dictionary, only what sentences of talk and notes often begin with. What is not here counts as a name when it stands
at the beginning of an English sentence, so a missing word costs a needless entity, a needless word a missed one.
"""

from __future__ import annotations

from typing import Final

ENGLISH: Final = frozenset(
    """
    a able about above absolute absolutely accept across act action actual actually add added adding admin advice
    afraid after again against age ago agree agreed ah aha ahead aim ain air alas all allow almost alone along
    already alright also although always am amazing among an and animal another answer answers any anybody anymore
    anyone anything anytime anyway anyways anywhere apart apologies apparently apply appreciate are area aren
    around arrive art article as ask asked asking assignment assume at ate attach attached aunt aw away awesome
    aww baby back bad balance base based basic basically basketball battle be beach beautiful beauty became
    because become been before began begin behind being believe below beside besides best bet better between
    beyond big birthday bit black blessed block blog blue body book books both bottom box boy boys brave bravo
    break brilliant bring brings brother brought brown bug build building built bummer business busy but buy by
    bye call called calling calls came can cannot capture car care careful case cat catch cats cause certain
    certainly challenge champ change changed changes chapter chat check checked cheers chef cherish chess child
    children choose cinnamon city class clean clear clearly click close code coffee cold collect color combine
    come comes coming common community company compare compete competition completely conclusion confidence
    congrats congratulations connect consider considering contact continue conversation cook cooking cool copy
    correct cost could couldn count couple course cozy crazy create created creating creativity crikey cross
    crossing curious current currently cut cute dad dad's daily dairy damn dance dancing dang dark data date
    daughter day days dear decide decided deep default definitely delete deliver depending describe design despite
    detail did didn different difficult dinner do doctor does doesn dog dogs doing domestic don done door down
    download draft draw drawing dream dreams drink drive drop dude due during each earlier early easier easy eat
    eating edit education eight either eleven else email embrace emotional empty enable encouragement end energy
    enjoy enjoyed enjoying enough ensure enter epic especially essentially even evening event eventually ever
    every everybody everyone everything everywhere exactly exam example excellent except excited exciting excuse
    expect experience explain explore express expression extra eyes face fact failed fair faith fall family famous
    fantastic fantasy far fast father favorite favourite feel feeling feels feet fell felt fetch few fifteen fifty
    fight file files fill final finally find finding fine finger finish finished fire first five fix fixed flower
    focus folks follow following food foods for force forever forget forgot forty found four free fresh friday
    friend friends friendship from front full fun funny further future game games gaming garden gather gave
    general generally get gets getting giant gift gimme girl girls give given gives giving glad go goal goals god
    goes going gonna good goodbye goodness gosh got gotcha gotta grab grateful gratitude great green greetings
    grew group groups grow growing guess guidance guide guitar guy guys ha had hadn hah haha hair half hand hands
    hang happen happened happens happiness happy hard has hasn hate have haven having he head health hear heard
    heart heavy heck hell hello help helped helping helps hence her here hers herself hey heya hi high hiking him
    himself his history hit hiya hm hmm hobby hold holy home honestly honey hope hoped hopefully hoping horse hot
    hotel hour hours house how however hug huge hugs human hundred hurray hurry hurt i idea ideas if ignore ill im
    image imagine immediately import important impressive in including indeed initially injury inner input inside
    inspiring install instead interesting into introduction invite invoice is isn issue issues it item items its
    itself jeez job jobs join joined joining joy jump just keep keeping keeps kept key kick kid kids kind kinda
    knew know knowing known kudos lady large last late lately later laugh laughter launch law lead learn learned
    learning least leave left lemme less lesson lessons let lets letter level life light like liked likely likes
    limited line list listen listening little live lived living load local location log long look looked looking
    looks lord losing lost lot lots love loved lovely loves loving low luck luckily lucky lunch ma madam made mail
    main make makes making mam man many map mark market marriage maybe me meal mean means meant meanwhile meet
    meeting member members memories men mental mention mentor merge merry message met method might mind mine minor
    miss missed missing mm mmm mom moment moments mommy money monitor month months more moreover morning most
    mostly mother mountain move moved movie movies moving much mum mummy music must mustn my myself nah name names
    native nature near nearly need needed needless needs neither never nevertheless new news next nice night nine
    no nobody none nonetheless nope nor normal normally not note notes nothing notice now nowhere number numbers
    obstacle obviously odd of off office often oh ohh ok okay old on once one ones online only onto oof ooh oops
    open opened option options or orange order other others otherwise ouch our ours out outdoor output outside
    over overall own pack page pages paint painting pardon parents part parts party pass past patience pay peace
    people per perfect perhaps personally pet phew phone photo physical pick picture pictures piece pizza place
    places plan plans plant plants play played players playing plays please pleased plenty plug plus point points
    poor pop positive possible possibly post potential pottery power practice present press pretty previous
    previously pride print priority probably problem problems process progress project projects promise proud pull
    puppy pure purple push put question questions quick quickly quiet quite rain ran random rather read reading
    ready real really reason reasons receive recent recently red regarding regardless regards rejection related
    relax relaxing remember remind reminds remove rename repeat reply report request research respect rest restart
    result results retreat return review right road rock room round rule rules run running runs sad safe said same
    sat save saw say saying says scared scary school score search seat second see seeing seem seems seen select
    self send sent separate serious seriously serve service session set setback setting settings seven several
    share shared sharing she she'd shoot should shouldn shout show showed showing shows shut sick side sign
    similar similarly simple simply since sing singing single sir sis sister sit sitting six size skip sleep slow
    slowly small smart smile snow so social some somebody someday somehow someone something sometimes somewhat
    somewhere son song songs soon sorry sort sound sounds space spare speak speaking special specifically spend
    spent spirit split sports spread spring stand standard star stars start started starting starts state status
    stay staying step steps still stoked stop stopped store stories story straight strange street strength stress
    strong struggle student students studies study stuff style subject submit success such sucks sudden suddenly
    summarize summary summer sun sunset super support supporting suppose sure surely surprise surprised sweet swim
    swimming switch system table tackle take taken takes taking talk talked talking tasks taste tasty teach
    teachers team tears tell telling ten test testing text than thank thankfully thanks thanx that thats the their
    theirs them theme themselves then there therefore these they thing things think thinking third thirty this
    those though thought thoughts thousand three through throughout thus thx ticket till time times tip tips tired
    title to today todo together told tomorrow ton tonight too took top total totally touch tough tournament
    toward towards town track trail train training travel traveling tree trees tried trilogy trip true truly trust
    truth try trying turn turned turning turns tv twelve twenty twice two type typically ugh uh uhh uncle
    unconditional under understand understanding understood unfortunately unless unlike until up update updated
    updates upload upon us use used useful user users uses using usually various verify version very via video
    view visit visited visiting visual voice volunteering wait waiting wake walk walked walking walks wall wanna
    want wanted wants war warm warning was wash wasn watch watched watching water way ways we wear weather wedding
    week weekend weekends weeks weigh welcome well went were weren what what's whatever whats when whenever where
    whereas wherever whether which while white who whoa whoever whole whom whose why wife will win winter wise
    wish wishing with within without woah woman women won wonder wonderful wondering woo woohoo word words work
    worked working workout works world worries worry worse worth would wouldn wow wrap write writing written wrong
    yay yea yeah year years yep yes yesterday yet yikes yo yoga you young your yours yourself youth yum yummy yup
    zen zero
    """.split()
)
# Of these, the ones that are nobody's name even inside a sentence.
FUNCTION_WORDS: Final = frozenset(
    """
    a about after all also always am an and any are as at be because been before but by can could did do does done
    even every for from get go got had has have he her here him his how i if in into is it its just let like me
    more most my never no not now of off oh on one only or our out over really see she so some such than thanks
    that the their them then there these they this those to too under up us very was we were what when where which
    while who why with would yes yet you your
    """.split()
)
ENGLISH_ENDINGS: Final = ("ing", "ly", "ed", "tion", "ness", "ful", "ous", "able", "ible", "less", "ment", "ity", "ism")
# Written with a capital everywhere, and no names of anything one would look up.
NEVER: Final = frozenset(
    """
    I OK Ok AM PM LOL OMG BTW ASAP FYI TBH IMO IMHO IDK LMAO ROFL TGIF RSVP AKA ETA TBD TBA FAQ PS NB TLDR WTF SMH
    DIY Monday Tuesday Wednesday Thursday Friday Saturday Sunday Mon Tue Tues Wed Thu Thur Thurs Fri Sat Sun
    January February March April May June July August September October November December Jan Feb Mar Apr Jun Jul
    Aug Sep Sept Oct Nov Dec Mom Dad Mum Mama Papa Mommy Daddy Grandma Grandpa Granny Mr Mrs Ms Dr Montag Dienstag
    Mittwoch Donnerstag Freitag Samstag Sonntag Januar Februar März Mai Juni Juli Oktober Dezember
    """.split()
)
GERMAN: Final = frozenset(
    """
    aber alle alles als also am an anders auch auf aus bei beim bin bis bitte da daher damals damit danach danke
    dann darum das dass dazu dein deine dem den denn der deren des deshalb dich die dies diese dieser dieses doch
    dort du durch ein eine einem einen einer eines einfach endlich er erst es etwas familie firma frau frohe
    frohes für ganz gar genau gerade gern gestern gibt gut gute guten guter ha habe haben hallo hast hat hatte
    herr herrn herzlichen heute hey hi hier hätte ich ihm ihn ihr ihre im immer in ins irgendwie ist ja jede jeder
    jedes jetzt kann kannst kein keine klar könnte könnten lass leider letzte letzten liebe lieber man mein meine
    meinem meinen meiner meist mich mir mit morgen muss nach natürlich nein nicht nichts noch nun nur ob oder oft
    ohne okay sag schade schau schon schöne schönen sehr sein seine seit sie sind so sogar sollen sollte sonst
    später super tja trotzdem tschüss tut um und uns unser unsere unter viel viele vielen vielleicht vom von vor
    wann war waren warum was weil weißt welche wem wen wenn wer werde werden weshalb wie wieder wieso will wir
    wird wirklich wo woher wohin wollen wow wurde würde zu zuerst zum zur zwar zwischen über
    """.split()
)
# Nouns that stand before another noun without making a name with it: "eine Tasse Kaffee", "Ende Mai".
GERMAN_MEASURES: Final = frozenset(
    """
    Anfang Art Becher Bisschen Dose Dutzend Ende Euro Flasche Glas Gramm Gruppe Haufen Jahr Jahre Kilo Kilometer
    Liter Menge Meter Minuten Mitte Monat Monate Paar Packung Portion Prozent Schluck Sorte Stück Stücke Stunden
    Tage Tasse Teil Teller Tüte Uhr Wochen
    """.split()
)
# Nouns that follow "in", "nach", "aus", "bei" without an article and are no places.
GERMAN_NO_PLACES: Final = frozenset(
    """
    Angst Arbeit Bewegung Eile Erfahrung Form Frage Gang Gefahr Gold Hause Holz Kraft Kürze Liebe Ordnung Panik
    Rente Ruhe Sicht Spaß Stimmung Teilzeit Urlaub Versehen Wirklichkeit Zukunft Zeiten Feierabend Belieben Bedarf
    Wunsch Stein Wasser Metall Papier Glas Kälte Regen Sonnenschein Nacht
    """.split()
)
GERMAN_ENDINGS: Final = ("ung", "heit", "keit", "tion", "schaft", "tät", "ismus", "nis", "tum", "zeit", "wetter")
