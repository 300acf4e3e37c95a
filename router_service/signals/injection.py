"""Flags text that speaks to the model against its user: "ignore all previous instructions", "reveal your system prompt".

A flag for policy and audit, not a defence: who wants to say it otherwise can. Rules in eleven languages, each a verb and a noun
within a few words of each other. All that is sent but the system's text is looked at, descriptions of tools too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from router_service.signals.windows import Windows, sought

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.signals.request import Request
    from router_service.signals.signals import JSON

OVERRIDE, EXFILTRATION, HIDDEN = "injection.override", "injection.exfiltration", "injection.hidden"
WINDOW = 120  # bytes after a verb within which its object has to stand

# Beginnings of words, all in lower case. Those of one line are of one or two languages.
_OVERRIDE_VERBS = (
    *("ignor", "disregard", "forget ", "override", "bypass", "not follow", "n't follow", "vergiss", "missachte"),
    *("oublie", "olvida", "haz caso omiso", "dimentica", "esqueça", "desconsider"),
    *("negeer", "vergeet", "zignoruj", "zapomnij", "pomiń", "абудь"),
    *("гнорир", "忽略", "无视", "忘记", "忘れ", "無視", "무시"),
)
_EARLIER = (
    *("previous", "prior", "above", "earlier", "preceding", "foregoing", "system", "your ", "everything you"),
    *("vorherig", "bisherig", "obig", "früher", "vorangegangen", "précédent", "antérieur", "ci-dessus"),
    *("anterior", "previa", "precedent", "acima", "vorige", "eerdere", "voorgaande", "bovenstaande"),
    *("poprzedni", "wcześniejsz", "powyższ", "предыдущ", "прежн", "вышеуказан"),
)
_ORDERS = (
    *("instruction", "prompt", "rule", "guideline", "direction", "command", "message", "were told"),
    *("anweisung", "anleitung", "regel", "vorgabe", "consigne", "règle", "instruccion", "regla"),
    *("istruzion", "regol", "instruç", "regra", "instructie", "polece", "instrukcj", "zasad"),
    *("инструкц", "указани", "правил"),
)
_WIDE_EARLIER = (
    "之前",
    "以上",
    "先前",
    "前面",
    "上述",
    "所有",
    "以前の",
    "これまでの",
    "前の",
    "上記の",
    "이전",
    "위의",
)
_WIDE_ORDERS = ("指令", "指示", "提示", "规则", "命令", "ルール", "지시", "명령")
_REVEAL_VERBS = (
    *(
        "reveal",
        "print",
        "show me",
        "repeat",
        "output",
        "tell me",
        "display",
        "leak",
        "verrate",
        "zeig",
        "gib ",
        "nenne",
    ),
    *("révèle", "affiche", "montre", "revela", "muestra", "rivela", "mostra", "toon", "onthul", "ujawnij", "pokaż"),
    *("аскрой", "окажи", "ыведи", "透露", "显示", "输出", "教えて", "表示"),
)
_OWN = (
    *(
        "your",
        "the",
        "deine",
        "deinen",
        "ihre",
        "ihren",
        "den",
        "tes",
        "ton",
        "vos",
        "votre",
        "le",
        "tu",
        "sus",
        "el",
        "la",
    ),
    *("il tuo", "il", "tua", "seu", "sua", "o", "je", "uw", "twój", "swój", "свой", "твой"),
)
_HELD = (
    *("system prompt", "system message", "system instruction", "system-prompt", "systemprompt", "systemanweisung"),
    *("hidden prompt", "hidden instruction", "initial prompt", "initial instruction", "secret instruction"),
    *("prompt système", "prompt del sistema", "prompt de sistema", "prompt do sistema", "prompt di sistema"),
    *("systeemprompt", "prompt systemowy", "системный промпт", "промпт", "api key", "api-key"),
)
_WIDE_HELD = ("系统提示", "系统指令", "系統提示", "システムプロンプト", "システム指示", "시스템 프롬프트")
# What all of these have a part of.
_HELD_PARTS = (
    "prompt",
    "system",
    "hidden",
    "secret",
    "initial",
    "api key",
    "api-key",
    "промпт",
    "系统",
    "系統",
    "システム",
    "시스템",
)


def _any_of(words: Sequence[str]) -> str:
    return "|".join(map(re.escape, words))


_OVERRIDES = re.compile(
    rf"(?:{_any_of(_EARLIER)}).{{0,40}}?(?:{_any_of(_ORDERS)})|(?:{_any_of(_ORDERS)}).{{0,4}}?(?:{_any_of(_EARLIER)})"
)
_WIDE_OVERRIDES = re.compile(rf"(?:{_any_of(_WIDE_EARLIER)}).{{0,8}}?(?:{_any_of(_WIDE_ORDERS)})")
_REVEALS = re.compile(rf"\b(?:{_any_of(_OWN)}) (?:\w{{1,12}} ){{0,2}}?(?:{_any_of(_HELD)})|{_any_of(_WIDE_HELD)}")
_IMAGE_LEAK = re.compile(r"!\[[^\]\n]{0,100}\]\(https?://[^\s)]{1,200}\?[^\s)=]{1,60}=(?:\{|\[|<|%7B|\$)")
# How tag characters begin in UTF-8, U+E0000 to U+E007F: no font shows them.
_HIDDEN = (b"\xf3\xa0\x80", b"\xf3\xa0\x81")

_SOUGHT_VERBS, _SOUGHT_ORDERS, _SOUGHT_PARTS = sought(_OVERRIDE_VERBS), sought(_WIDE_ORDERS), sought(_HELD_PARTS)


class Injections:
    """`flags`: kinds of instructions within the text that go against those of the user."""

    name = "injection"
    version = "2"

    def extract(self, requests: Sequence[Request]) -> list[Mapping[str, JSON]]:
        return [{"flags": sorted(injections(request.untrusted))} for request in requests]


def injections(text: str) -> set[str]:
    """The flags of `text`."""
    found = set[str]()
    places = Windows(text)
    if _overrides(places) or _overrides_wide(places):
        found.add(OVERRIDE)
    if _reveals(places) or ("](http" in text and _IMAGE_LEAK.search(text)):
        found.add(EXFILTRATION)
    if any(map(places.holds, _HIDDEN)):
        found.add(HIDDEN)
    return found


def _overrides(places: Windows) -> bool:
    return any(_OVERRIDES.search(window.lower()) for window in places.around(_SOUGHT_VERBS, width=WINDOW))


def _overrides_wide(places: Windows) -> bool:
    """Chinese, Japanese, Korean: there the noun may stand before the verb."""
    return not places.is_ascii and any(
        _WIDE_OVERRIDES.search(window) is not None and any(verb in window for verb in _OVERRIDE_VERBS)
        for window in places.around(_SOUGHT_ORDERS, width=WINDOW, before=WINDOW // 2)
    )


def _reveals(places: Windows) -> bool:
    return any(
        _REVEALS.search(around) is not None
        for window in places.around(_SOUGHT_PARTS, width=WINDOW, before=WINDOW)
        if any(verb in (around := window.lower()) for verb in _REVEAL_VERBS)
    )
