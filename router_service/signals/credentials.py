"""Flags credentials in the text by the forms that their issuers gave them. Says that one is there, never which.

Forms are those that the issuers document so that scanners find them (a fixed beginning, a length). Each is looked for only where
its beginning stands, which a plain search finds at the speed of memory.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from router_service.signals.windows import MOST_PLACES, Windows, sought

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.signals.request import Request
    from router_service.signals.signals import JSON

PRIVATE_KEY, AWS, TOKEN = "secret.private_key", "secret.aws", "secret.token"  # names of flags
PASSWORD, URL = "secret.password", "secret.url"  # names of flags
NAME_WINDOW = 160  # bytes from the name of a secret on, within which its value stands
LEAST_LENGTH = 6  # of what is taken for a password

# (flag, beginnings, what has to stand from there on)
_FORMS: tuple[tuple[str, tuple[str, ...], re.Pattern[str]], ...] = (
    (PRIVATE_KEY, ("-----BEGIN ",), re.compile(r"-----BEGIN (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")),
    (AWS, ("AKIA", "ASIA"), re.compile(r"(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9])")),
    (TOKEN, ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), re.compile(r"gh[pousr]_[A-Za-z0-9]{36}")),
    (TOKEN, ("github_pat_",), re.compile(r"github_pat_[A-Za-z0-9_]{40}")),
    (TOKEN, ("glpat-",), re.compile(r"glpat-[A-Za-z0-9_-]{20}")),
    (TOKEN, ("xox",), re.compile(r"xox[abeoprs]-[A-Za-z0-9-]{10}")),
    (TOKEN, ("sk_live_", "rk_live_", "sk_test_"), re.compile(r"[sr]k_(?:live|test)_[A-Za-z0-9]{16}")),
    (TOKEN, ("sk-",), re.compile(r"sk-(?:proj-|ant-|or-|svcacct-)?(?=[A-Za-z_-]{0,40}\d)[A-Za-z0-9_-]{20}")),
    (TOKEN, ("AIza",), re.compile(r"AIza[A-Za-z0-9_-]{35}")),
    (TOKEN, ("hf_",), re.compile(r"hf_[A-Za-z0-9]{30}")),
    (TOKEN, ("npm_",), re.compile(r"npm_[A-Za-z0-9]{36}")),
    (TOKEN, ("pypi-",), re.compile(r"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{30}")),
    (TOKEN, ("SG.",), re.compile(r"SG\.[A-Za-z0-9_-]{20,24}\.[A-Za-z0-9_-]{40}")),
    (TOKEN, ("eyJ",), re.compile(r"eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,8000}\.")),
    (TOKEN, ("AccountKey=",), re.compile(r"AccountKey=[A-Za-z0-9+/]{80}")),
    (TOKEN, ("Bearer ",), re.compile(r"Bearer (?=[A-Za-z_-]{0,40}[0-9])[A-Za-z0-9._~+/-]{20}")),
    (URL, ("://",), re.compile(r"://[^\s/@:]{1,100}:[^\s/@:]{3,100}@[\w.-]{3}")),
)
# How names of secrets begin, in lower case; a first letter other than a to z is left out, since it may be a capital.
_SECRET_NAMES = (
    *("passw", "passphrase", "pwd", "kennwort", "contrase", "mot de passe", "senha", "wachtwoord", "hasło", "ароль"),
    *("secret", "api_key", "apikey", "api-key", "api key", "access_key", "auth_token", "密码", "パスワード"),
)
_PLAIN_FORMS = tuple(each for each in _FORMS if "_" not in each[1][0])
_PLAIN_NAMES = sought([each for each in _SECRET_NAMES if "_" not in each])
_ALL_NAMES = sought(_SECRET_NAMES)
_ASSIGNED = re.compile(r"[\w -]{2,30}?[\"']? {0,2}(:=|=>|[:=：]| is | ist | est | es ) {0,2}([\"'`]?)(\S{6,80})")
_PLACEHOLDER = re.compile(
    r"^[<{$%*.\[(]|x{4,}|\*{3,}|example|placeholder|changeme|your|environ|getenv|None|null|true|false", re.IGNORECASE
)


class Credentials:
    """`flags`: the kinds of credentials that the text holds."""

    name = "secrets"
    version = "2"

    def extract(self, requests: Sequence[Request]) -> list[Mapping[str, JSON]]:
        return [{"flags": sorted(credentials(request.sent))} for request in requests]


def credentials(text: str) -> set[str]:
    """The flags of `text`. Looks at MOST_PLACES places for each beginning, and a bounded number of characters there."""
    found = set[str]()
    forms = _FORMS if "_" in text else _PLAIN_FORMS
    for flag, beginnings, form in forms:
        if flag not in found and any(_stands(text, beginning, form) for beginning in beginnings if beginning in text):
            found.add(flag)
    if _assigns_password(text):
        found.add(PASSWORD)
    return found


def _stands(text: str, beginning: str, form: re.Pattern[str]) -> bool:
    place = text.find(beginning)
    for _count in range(MOST_PLACES):
        if place < 0:
            return False
        is_inside_word = beginning[0].isalpha() and place > 0 and text[place - 1].isalnum()
        if not is_inside_word and form.match(text, place):
            return True
        place = text.find(beginning, place + 1)
    return False


def _assigns_password(text: str) -> bool:
    """A name such as `password`, a sign that gives it a value, and a value that is neither a word nor a placeholder."""
    names = _ALL_NAMES if "_" in text else _PLAIN_NAMES
    assigned = (_ASSIGNED.match(window) for window in Windows(text).around(names, width=NAME_WINDOW))
    return any(
        match and _is_secret_value(match[3].strip("\"'`,;."), told=match[1].startswith(" ")) for match in assigned
    )


def _is_secret_value(value: str, *, told: bool) -> bool:
    """It has digits and something else; where a sentence tells it, rather than a sign, three kinds of characters."""
    if len(value) < LEAST_LENGTH or "://" in value or "(" in value or _PLACEHOLDER.search(value):
        return False
    kinds = {
        "lower" if each.islower() else "upper" if each.isupper() else "digit" if each.isdigit() else "other"
        for each in value
    }
    return "digit" in kinds and len(kinds) >= (3 if told else 2)
