"""Words of closed sets: languages and places by their ISO codes, what is near to a wrong one.

Codes and names of languages: ISO 639-1 and 639-2; of countries: ISO 3166-1. A language's code of three letters is taken as it is,
unless the language has one of two: a caller may name any.
"""

from __future__ import annotations

import re
from functools import cache

from router_service.catalog.nearness import close_to

# Two letters : three letters (terminology/bibliographic) : English name.
_LANGUAGES = """
aa:aar:afar ab:abk:abkhazian ae:ave:avestan af:afr:afrikaans ak:aka:akan am:amh:amharic an:arg:aragonese ar:ara:arabic
as:asm:assamese av:ava:avaric ay:aym:aymara az:aze:azerbaijani ba:bak:bashkir be:bel:belarusian bg:bul:bulgarian
bi:bis:bislama bm:bam:bambara bn:ben:bengali bo:bod/tib:tibetan br:bre:breton bs:bos:bosnian ca:cat:catalan ce:che:chechen
ch:cha:chamorro co:cos:corsican cr:cre:cree cs:ces/cze:czech cu:chu:church-slavic cv:chv:chuvash cy:cym/wel:welsh
da:dan:danish de:deu/ger:german dv:div:dhivehi dz:dzo:dzongkha ee:ewe:ewe el:ell/gre:greek en:eng:english eo:epo:esperanto
es:spa:spanish et:est:estonian eu:eus/baq:basque fa:fas/per:persian ff:ful:fulah fi:fin:finnish fj:fij:fijian
fo:fao:faroese fr:fra/fre:french fy:fry:western-frisian ga:gle:irish gd:gla:scottish-gaelic gl:glg:galician gn:grn:guarani
gu:guj:gujarati gv:glv:manx ha:hau:hausa he:heb:hebrew hi:hin:hindi ho:hmo:hiri-motu hr:hrv:croatian ht:hat:haitian
hu:hun:hungarian hy:hye/arm:armenian hz:her:herero ia:ina:interlingua id:ind:indonesian ie:ile:interlingue ig:ibo:igbo
ii:iii:sichuan-yi ik:ipk:inupiaq io:ido:ido is:isl/ice:icelandic it:ita:italian iu:iku:inuktitut ja:jpn:japanese
jv:jav:javanese ka:kat/geo:georgian kg:kon:kongo ki:kik:kikuyu kj:kua:kuanyama kk:kaz:kazakh kl:kal:kalaallisut
km:khm:khmer kn:kan:kannada ko:kor:korean kr:kau:kanuri ks:kas:kashmiri ku:kur:kurdish kv:kom:komi kw:cor:cornish
ky:kir:kirghiz la:lat:latin lb:ltz:luxembourgish lg:lug:ganda li:lim:limburgan ln:lin:lingala lo:lao:lao lt:lit:lithuanian
lu:lub:luba-katanga lv:lav:latvian mg:mlg:malagasy mh:mah:marshallese mi:mri/mao:maori mk:mkd/mac:macedonian
ml:mal:malayalam mn:mon:mongolian mr:mar:marathi ms:msa/may:malay mt:mlt:maltese my:mya/bur:burmese na:nau:nauru
nb:nob:norwegian-bokmal nd:nde:north-ndebele ne:nep:nepali ng:ndo:ndonga nl:nld/dut:dutch nn:nno:norwegian-nynorsk
no:nor:norwegian nr:nbl:south-ndebele nv:nav:navajo ny:nya:nyanja oc:oci:occitan oj:oji:ojibwa om:orm:oromo or:ori:oriya
os:oss:ossetian pa:pan:panjabi pi:pli:pali pl:pol:polish ps:pus:pushto pt:por:portuguese qu:que:quechua rm:roh:romansh
rn:run:rundi ro:ron/rum:romanian ru:rus:russian rw:kin:kinyarwanda sa:san:sanskrit sc:srd:sardinian sd:snd:sindhi
se:sme:northern-sami sg:sag:sango si:sin:sinhala sk:slk/slo:slovak sl:slv:slovenian sm:smo:samoan
sn:sna:shona so:som:somali sq:sqi/alb:albanian sr:srp:serbian ss:ssw:swati st:sot:southern-sotho su:sun:sundanese
sv:swe:swedish sw:swa:swahili ta:tam:tamil te:tel:telugu tg:tgk:tajik th:tha:thai ti:tir:tigrinya tk:tuk:turkmen
tl:tgl:tagalog tn:tsn:tswana to:ton:tonga tr:tur:turkish ts:tso:tsonga tt:tat:tatar tw:twi:twi ty:tah:tahitian
ug:uig:uighur uk:ukr:ukrainian ur:urd:urdu uz:uzb:uzbek ve:ven:venda vi:vie:vietnamese vo:vol:volapuk wa:wln:walloon
wo:wol:wolof xh:xho:xhosa yi:yid:yiddish yo:yor:yoruba za:zha:zhuang zh:zho/chi:chinese zu:zul:zulu
"""
# `eu` and `eea` are none of ISO's countries, and what is asked for most.
_PLACES = """
eu eea uk
ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bl bm bn bo bq br bs bt bv bw by bz ca cc cd cf
cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg eh er es et fi fj fk fm fo fr ga gb gd ge gf gg gh
gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh ki km kn kp kr kw
ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mf mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw mx my mz na nc ne nf ng
ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc sd se sg sh si sj sk sl sm sn
so sr ss st sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw tz ua ug um us uy uz va vc ve vg vi vn vu wf ws ye yt
za zm zw
"""
_TAG = re.compile(r"[a-z]{2,3}")
_REGIONAL = re.compile(r"([A-Za-z]{2,3})[-_][A-Za-z0-9_-]+")


def language_problem(word: str) -> str | None:
    """Why no job can be in this language, with what would be right; None where one can: two letters of ISO 639-1, or three."""
    codes, others = _languages()
    if word in codes or (_TAG.fullmatch(word) and len(word) == 3 and word not in others):
        return None
    lower = word.strip().lower()
    if (code := lower if lower in codes else others.get(lower)) is not None:
        return f"{word!r} is written {code!r}: languages are compared by their ISO 639 code"
    if (regional := _REGIONAL.fullmatch(word)) is not None:
        own = regional[1].lower()
        return f"{word!r} is written {others.get(own, own)!r}: regions of a language are not told apart"
    near = [
        f"{others[name]!r} ({name})"
        for name in close_to(lower, [name for name in others if len(name) > 3], most=3, cutoff=0.75)
    ]
    known = (
        f"did you mean {' or '.join(near)}?"
        if near
        else "two letters of ISO 639-1 such as 'de', or three, would be right"
    )
    return f"{word!r} is no language; {known}"


def language_code(tag: str) -> str | None:
    """The form in which languages are compared, of a language's code alone; None where there is no such language."""
    lower = tag.lower()
    code = _languages()[1].get(lower, lower) if len(lower) == 3 else lower
    return code if language_problem(code) is None else None


def is_place(word: str) -> bool:
    """Whether a place begins with a country of ISO 3166-1, or is one that is asked for by another name, such as `eu`."""
    return word.partition("-")[0] in _places()


@cache
def _languages() -> tuple[frozenset[str], dict[str, str]]:
    """The codes of two letters, and to each its code of three letters and its name."""
    rows = [row.split(":") for row in _LANGUAGES.split()]
    others = {other: code for code, three, name in rows for other in (*three.split("/"), name)}
    return frozenset(code for code, _three, _name in rows), others


@cache
def _places() -> frozenset[str]:
    return frozenset(_PLACES.split())
