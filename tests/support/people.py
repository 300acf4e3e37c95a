"""Made-up people's data in sentences of seven languages, and numbers that are none. Check digits are made apart from the code.

Single numbers are those that the issuers or registries print as their example.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from router_service.signals.personal import CARD, EMAIL, IBAN, NATIONAL_ID, PHONE

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

COPIES = 15  # of each sentence

SENTENCES: dict[str, tuple[str, ...]] = {
    EMAIL: (
        "Write to {} before Friday.",
        "Schreiben Sie bitte an {}, danke.",
        "Mon adresse est {}.",
        "Escríbeme a {} mañana",
        "Adres do kontaktu: {}",
        "Пишите на {}.",
        "请发邮件到{}。",
    ),
    PHONE: (
        "Call me at {} after six.",
        "Sie erreichen mich unter der Telefonnummer {}.",
        "Mon téléphone : {}",
        "Mi teléfono es {}, gracias",
        "Mój telefon: {}",
        "Телефон: {}.",
        "我的电话是{}。",
    ),
    IBAN: (
        "Please pay to {} within ten days.",
        "Bitte überweisen Sie auf {}.",
        "Virement sur le compte {}",
        "Transferir a la cuenta {} hoy",
        "Przelew na konto {}.",
        "Счёт {} открыт",
        "请汇款至{}。",
    ),
    CARD: (
        "My card is {}, valid until May.",
        "Die Kartennummer lautet {}.",
        "Ma carte : {}",
        "Tarjeta {} caducada",
        "Numer karty {}.",
        "Карта {}",
        "卡号{}。",
    ),
    NATIONAL_ID: (
        "My personal id is {}.",
        "Steuer-ID {}, bitte prüfen",
        "Identité : {}",
        "Mi identificación: {}.",
        "PESEL {}",
        "BSN {} van de klant",
        "身份证号{}。",
    ),
}

IBANS = (
    *("DE89370400440532013000", "GB29NWBK60161331926819", "FR1420041010050500013M02606", "NL91ABNA0417164300"),
    *("ES9121000418450200051332", "IT60X0542811101000000123456", "PL61109010140000071219812874", "BE68539007547034"),
    *("CH9300762011623852957", "AT611904300234573201", "SE4550000000058398257466", "PT50000201231234567890154"),
)
NATIONAL_IDS = (
    *("219-09-9999", "AB 12 34 56 C", "RSSMRA85T10A562S", "12345678Z", "X1234567L", "2 55 08 14 168 025 38"),
    *("86095742719", "44051401359", "111222333", "811218-9876", "111.444.777-35", "11010519491231002X"),
    *("65 170839 J 003", "2345 6789 0124", "111 44 7777"),
)
WRONG = {
    "iban": "Please pay to DE89370400440532013001 soon.",
    "iban of a country without any": "Please pay to ZZ89370400440532013000 soon.",
    "card": "My card is 4111 1111 1111 1112.",
    "card of one digit": "My card is 0000 0000 0000 0000.",
    "us": "My number is 666-09-9999.",
    "italy": "Il codice RSSMRA85T10A562T",
    "spain": "DNI 12345678A",
    "france": "numéro 2 55 08 14 168 025 39",
    "germany": "86095742718",
    "brazil": "CPF 111.444.777-36",
    "china": "110105194912310021",
    "sweden": "811218-9875",
    "pension": "Versicherungsnummer 65 170839 J 004",
    "india": "My id is 2345 6789 0125.",
    "no context": "The order 44051401359 was sent.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A sentence, and the flag that it deserves."""

    text: str
    flag: str


def samples(random: Random) -> list[Sample]:
    """COPIES of each kind in each language, each with another number."""
    return [
        Sample(text=sentence.format(_value(flag, copy, random)), flag=flag)
        for flag, sentences in SENTENCES.items()
        for sentence in sentences
        for copy in range(COPIES)
    ]


def _value(flag: str, copy: int, random: Random) -> str:
    if flag == EMAIL:
        return _email(random)
    if flag == PHONE:
        return _phone(copy, random)
    if flag == IBAN:
        return _grouped(IBANS[copy % len(IBANS)], 4) if random.random() < 0.5 else IBANS[copy % len(IBANS)]
    return card(random) if flag == CARD else NATIONAL_IDS[copy % len(NATIONAL_IDS)]


def _email(random: Random) -> str:
    name = random.choice(("ann", "lee.wong", "o_neil", "m-schmidt", "jan.kowalski+bank"))
    return f"{name}{random.randrange(100)}@{random.choice(('example.org', 'mail.example.co.uk', 'ex-ample.de'))}"


def _phone(copy: int, random: Random) -> str:
    def digits(count: int) -> str:
        return "".join(str(random.randrange(2, 10)) for _ in range(count))

    forms = (
        lambda: f"+49 30 {digits(8)}",
        lambda: f"+33 6 {digits(2)} {digits(2)} {digits(2)} {digits(2)}",
        lambda: f"+1 ({digits(3)}) {digits(3)}-{digits(4)}",
        lambda: f"+48{digits(9)}",
        lambda: f"0049 171 {digits(7)}",
        lambda: f"(212) {digits(3)}-{digits(4)}",
        lambda: f"212-{digits(3)}-{digits(4)}",
        lambda: f"06 {digits(2)} {digits(2)} {digits(2)} {digits(2)}",
        lambda: f"030/{digits(7)}",
        lambda: f"+7 495 {digits(3)}-{digits(2)}-{digits(2)}",
        lambda: f"138 {digits(4)} {digits(4)}",
        lambda: f"0171-{digits(7)}",
    )
    return forms[copy % len(forms)]()


def card(random: Random) -> str:
    """A number of 16 digits that Luhn's sum divides, or one of 15 of American Express."""
    beginning, length = random.choice((("4", 16), ("51", 16), ("37", 15), ("6011", 16)))
    number = beginning + "".join(str(random.randrange(10)) for _ in range(length - len(beginning) - 1))
    doubled = [int(digit) * (2 - place % 2) for place, digit in enumerate(reversed(number))]
    number += str(-sum(value // 10 + value % 10 for value in doubled) % 10)
    if length == 16:
        return random.choice((number, _grouped(number, 4), _grouped(number, 4).replace(" ", "-")))
    return random.choice((number, f"{number[:4]} {number[4:10]} {number[10:]}"))


def _grouped(text: str, size: int) -> str:
    return " ".join(text[start : start + size] for start in range(0, len(text), size))


def others(random: Random) -> list[str]:
    """Sentences with numbers that name nobody."""

    def number(least: int, most: int | None = None) -> int:
        return random.randrange(0 if most is None else least, least if most is None else most)

    sentences: tuple[Callable[[], str], ...] = (
        lambda: f"In {number(1900, 2030)} they sold {number(10**6, 10**9):,} units.",
        lambda: f"Die Bestellung {number(10**7, 10**8)} kostet {number(10**5)},{number(10, 99)} EUR.",
        lambda: f"Le {number(1, 29)}/{number(1, 13)}/20{number(10, 30)} à 10:{number(10, 60)}",
        lambda: f"La versión {number(9)}.{number(99)}.{number(9999)} de 2024-{number(10, 13)}-17",
        lambda: f"Między {number(100, 999)} a {number(1000, 9999)} osób, czyli {random.random():.6f}.",
        lambda: f"Население: {number(10**6, 10**7)} человек, {number(1900, 2020)}-{number(2020, 2030)} годы",
        lambda: f"共{number(10**4, 10**6)}件 {number(2000, 2030)}年{number(1, 13)}月",
        lambda: f"GET /v1/items/{number(10**9)}?page={number(99)} 200 {number(10**5)} at 10.0.{number(255)}.7",
        lambda: f"3.14159{number(10**9)} and {number(10**3)} x {number(10**3)} = {number(10**6)}",
        lambda: f"@here see @user{number(99)} at 5 @ 3 EUR, v{number(9)}@latest",
        lambda: f"ISBN 978-3-16-{number(10**5, 10**6)}-0, pages {number(100, 200)}-{number(200, 300)}",
        lambda: f"id {number(10**12, 10**13)} from {number(1_600_000_000, 1_800_000_000)}, row {number(10**6)}",
        lambda: f"550e8400-e29b-41d4-a716-{number(10**11, 10**12)}, commit {number(10**6, 10**7)}f",
    )
    return [make() for _copy in range(20) for make in sentences]
