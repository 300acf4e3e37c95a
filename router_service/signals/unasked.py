"""What a catalog names that nothing known here asks for: not wrong, since callers and plugins may name it, but seldom meant."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from router_service.catalog.nearness import nearest_of_many
from router_service.catalog.words import is_place
from router_service.signals import credentials, form, injection, language, personal
from router_service.signals.extract import DEFAULT, UNREAD
from router_service.signals.predicted import Prophet
from router_service.signals.signals import Task

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from router_service.catalog.models import Catalog, Model

FLAGS = frozenset(
    {
        form.PARTIAL,
        *(f"{UNREAD}{name}" for name in (*(each.name for each in DEFAULT), Prophet.name)),
        *(credentials.PRIVATE_KEY, credentials.AWS, credentials.TOKEN, credentials.PASSWORD, credentials.URL),
        *(personal.EMAIL, personal.PHONE, personal.IBAN, personal.CARD, personal.NATIONAL_ID),
        *(injection.OVERRIDE, injection.EXFILTRATION, injection.HIDDEN),
    }
)
TASKS = frozenset(str(task) for task in Task)
ONLY_STATED = "only jobs match whose caller states it"


def unasked(catalog: Catalog, *, domains: Collection[str]) -> Iterator[str]:
    """A line for each word, with where it stands. `domains`: those that the predictor in force tells apart.

    Raises SettingsError where the model of languages is not installed.
    """
    languages = language.recognized()
    for model in catalog.models:
        yield from _of_model(model, domains=domains, languages=languages)
    known = {"language": languages, "domain": domains, "task": TASKS, "flag": FLAGS}
    for policy in catalog.policies.values():
        for rule in policy.rules:
            for kind, patterns in rule.when.items():
                for pattern in patterns if kind in known else ():
                    if not any(fnmatchcase(word, pattern) for word in known[kind]):
                        where = (
                            f"policy {policy.name}, rule {rule.name}: no {kind} that is recognized matches {pattern!r}"
                        )
                        yield f"{where}: {ONLY_STATED}{nearest_of_many(pattern, known[kind])}"


def _of_model(model: Model, *, domains: Collection[str], languages: Collection[str]) -> Iterator[str]:
    for word in sorted(model.languages - set(languages)):
        yield f"model {model.id}: the language {word!r} is not recognized in requests: {ONLY_STATED}"
    for word in sorted(model.domains - set(domains)):
        yield f"model {model.id}: the domain {word!r} is not recognized: {ONLY_STATED}{nearest_of_many(word, domains)}"
    for word in sorted(model.quality.keys() - {"default", *TASKS, *domains}):
        near = nearest_of_many(word, {"default", *TASKS, *domains})
        yield f"model {model.id}: the quality of {word!r}, which is no task and no recognized domain: {ONLY_STATED}{near}"
    places = model.residency.inference | model.residency.storage if model.residency else frozenset[str]()
    for word in sorted(place for place in places if not is_place(place)):
        said = "is no country of ISO 3166-1 and not 'eu': only jobs match that ask for this very word"
        yield f"model {model.id}: the place {word!r} {said}"
