"""Function words of the seven languages the router promises to summarize: en de fr es it pt nl.

One set for all: the language of a document is not known, and a function word of one language is rarely
a content word of another.
"""

from __future__ import annotations

from typing import Final

_ENGLISH: Final = """
a about above after again all also although am an and any are as at be because been before being below
between both but by can cannot could did do does doing don't down during each either few for from further
had has have having he her here hers him his how however i if in into is isn't it it's its itself just let
like many may me might more most must my need no nor not now of off on once only onto or other others our
ours out over own per rather same shall she should since so some such than that that's the their them then
there therefore these they this those though thus to too under until up upon us use used uses using very via
was we well were what when where whether which while who whom whose why will with within without would yet
you your yours
"""
_GERMAN: Final = """
aber alle allem allen aller alles als also am andere anderen auch auf aus bei beim bin bis bist da dabei
damit dann das dass dem den denen denn der deren des dessen die dies diese diesem diesen dieser dieses doch
dort du durch ein eine einem einen einer eines er es etwa etwas euch für gegen habe haben hat hatte hatten
hier hinter ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im immer ist jede jedem jeden jeder jedes jedoch
jene kann kein keine keinen können könnte man mehr mein mich mir mit muss müssen nach nicht nichts noch nun
nur ob oder ohne schon sehr sein seine seinen seiner seit sich sie sind so sodass solche soll sollen sollte
sondern sonst sowie über um und uns unser unter viel vom von vor während war waren warum was weil weiter
welche welcher wenn wer werden wie wieder wir wird wo wurde wurden würde zu zum zur zwar zwischen
"""
_FRENCH: Final = """
à afin ai ainsi alors apres après au aucun aucune aussi autre autres aux avant avec avoir c'est car ce ceci
cela celle celui ces cet cette ceux chaque chez comme comment dans de depuis des deux donc dont du elle
elles en encore entre est et été être eux fait font il ils j'ai je jusque la laquelle le lequel les lesquels
leur leurs lors lorsque lui mais même mes moi moins mon ne ni nos notre nous on ont ou où par parce pas
pendant peu peut peuvent plus pour pourquoi puis qu'il qu'une quand que quel quelle quelques qui quoi sa
sans se selon sera ses si sinon soit son sont sous sur ta te tes toi tous tout toute toutes très tu un une
vers voici voilà vos votre vous
"""
_SPANISH: Final = """
ahora al algo algún alguna algunos ante antes aquel aquella así aun aunque bajo bien cada casi como con
contra cual cuales cuando cuanto del desde donde dos durante e él ella ellas ellos entonces era eran eres
esa esas ese eso esos esta está estaba están estas este esto estos fue fueron ha había han hasta hay hacia
incluso la las lo los luego más me mediante mi mientras misma mismo mucho muchos muy nada ni ningún no nos
nosotros o otra otras otro otros para pero poco por porque pues puede pueden que qué quien quienes se según
ser será si sí sido sin sino sobre solo son su sus también tan tanto te tiene tienen todo toda todas todos
tras tu un una unas uno unos usted y ya yo
"""
_ITALIAN: Final = """
a abbiamo ad agli ai al alcuni alla alle allo allora altri altro anche ancora avere aveva c'è che chi ci ciò
coi col come con contro così cui da dagli dai dal dalla dalle degli dei del della delle dello dentro di dopo
dove dunque ed era erano essere fra gli già ha hanno ho il in infatti invece io l'ha le lei loro lui ma meno
mentre mia mio molti molto ne negli nei nel nella nelle nessun noi non nostro o ogni oltre ora ossia per
perché però più poi poiché prima proprio può qua quale quali quando quanto quella quelle quelli quello
questa queste questi questo qui quindi sarà se sempre senza si sia siamo sono sopra sotto sta stata stati
stato stesso su sua sue sugli sui sul sulla suo suoi tra tutte tutti tutto un una uno verso vi voi
"""
_PORTUGUESE: Final = """
ainda algum alguma alguns ao aos aquela aquele aquilo as assim até cada com como da das de dela dele deles
depois desde dessa desse desta deste disso do dos e é ela elas ele eles em enquanto então entre era essa
essas esse esses esta está estão estas estava este estes eu foi foram for há isso isto já lá lhe logo mais
mas meio menos mesmo meu minha muito muitos na nas não nem nenhum nessa nesse nesta neste no nos nós nossa
nosso num numa o onde os ou outra outro outros para pela pelas pelo pelos pode podem pois por porém porque
qual quais quando quanto que quem são se seja sem sempre será seu seus só sob sobre sua suas também tão tem
têm tendo ter teu toda todas todo todos tudo um uma umas uns você vocês
"""
_DUTCH: Final = """
aan al alle alleen als altijd ander andere bij binnen daar daarom dan dat de deze die dit doen door dus
echter een één elk elke en enkele er ergens geen haar had hadden heb hebben heeft hem hen het hier hij hoe
hoewel hun iemand iets ik in is ja je jij jouw jullie kan kon konden kunnen maar me meer men met mij mijn
moet moeten na naar naast niet niets nog nu of om omdat onder ons onze ook op over reeds sinds sommige te
tegen ten terwijl toch toen tot tussen uit van vanaf veel voor vooral waar waarom wanneer want waren was wat
we wel welke werd werden wie wij worden wordt zal ze zei zelf zich zij zijn zo zoals zonder zou zouden
zullen
"""

STOP_WORDS: Final = frozenset(f"{_ENGLISH} {_GERMAN} {_FRENCH} {_SPANISH} {_ITALIAN} {_PORTUGUESE} {_DUTCH}".split())
