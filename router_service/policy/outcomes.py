"""The outcomes of a call to a provider, as values. Whatever a provider does ends as exactly one of these."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A well-formed answer. `body` is a chat completion as one line of JSON; costs and tokens are the provider's own count."""

    body: str
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled:
    """The provider said wait (429). Not a failure: it uses up no try."""

    retry_after_s: float
    status_code: int = 429
    code: str = "rate_limit_exceeded"
    message: str = "the provider asked to wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The call failed in a way that another try on the same model may mend (5xx, timeouts, broken answers)."""

    code: str
    message: str
    status_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfTime:
    """The job's own deadline passed during the call: nobody's failure, and no use trying again."""

    code: str = "deadline_exceeded"
    message: str = "the deadline passed during the call"
    status_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUnfit:
    """This model will not do it however often it is asked (401, 404, no key): another model may."""

    code: str
    message: str
    status_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The request itself is wrong for any model (400, 422). `body` is the provider's answer, as one line of JSON."""

    code: str
    message: str
    status_code: int
    body: str


Outcome = Answered | Throttled | Failed | OutOfTime | ModelUnfit | Refused
