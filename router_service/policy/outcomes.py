"""The outcomes of a call to a provider, as values. Whatever a provider does ends as exactly one of these.

Each also carries what the reply told of the provider's limits (`seen`), and what it means for the model's breaker
(`verdict`). `replies.py` has the table that makes an outcome of an error, `after.py` what follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from router_service.catalog.models import ErrorKind

Verdict = Literal["ok", "failed"] | None
# The model or its account is at fault. The others are the request's own fault, or ours.
BREAKS = frozenset(
    {ErrorKind.AUTHENTICATION, ErrorKind.NOT_FOUND, ErrorKind.BUDGET, ErrorKind.TIMEOUT, ErrorKind.INTERNAL}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Limits that a reply told, per minute; None where it did not.

    `exhausted_s`: how long nothing remains by the provider's own count, 0 while something does.
    """

    rpm: float | None = None
    tpm: float | None = None
    itpm: float | None = None
    otpm: float | None = None
    exhausted_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A well-formed answer. `body` is a chat completion as one line of JSON.

    The tokens are the provider's own count; None where it did not say, or said what cannot be.
    """

    body: str
    tokens_in: int | None
    tokens_out: int | None
    seen: Seen | None = None

    @property
    def verdict(self) -> Verdict:
        return "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled:
    """The provider said wait (429, or 503 and 529 where it is overloaded). Not a failure: it uses up no try."""

    retry_after_s: float
    status_code: int = 429
    code: str = "rate_limit_exceeded"
    message: str = "the provider asked to wait"
    seen: Seen | None = None

    @property
    def verdict(self) -> Verdict:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The call failed in a way that another try on the same model may mend (5xx, timeouts, broken answers).

    `retry_after_s`: the provider asked for no other try before that.
    """

    code: str
    message: str
    status_code: int | None = None
    kind: ErrorKind = ErrorKind.INTERNAL
    retry_after_s: float = 0.0
    seen: Seen | None = None

    @property
    def verdict(self) -> Verdict:
        return "failed" if self.kind in BREAKS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfTime:
    """The job's own deadline passed during the call: nobody's failure, and no use trying again."""

    code: str = "deadline_exceeded"
    message: str = "the deadline passed during the call"
    status_code: int | None = None
    seen: Seen | None = None

    @property
    def verdict(self) -> Verdict:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUnfit:
    """This model will not do it however often it is asked (401, 404, too long for it, no key): another model may."""

    code: str
    message: str
    status_code: int | None = None
    kind: ErrorKind = ErrorKind.NOT_CALLED
    seen: Seen | None = None

    @property
    def verdict(self) -> Verdict:
        return "failed" if self.kind in BREAKS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The request itself is at fault (400, 422), or its content was refused.

    `body` is the provider's answer, as one line of JSON.
    """

    code: str
    message: str
    status_code: int
    body: str
    kind: ErrorKind = ErrorKind.BAD_REQUEST
    seen: Seen | None = None

    @property
    def verdict(self) -> Verdict:
        return None


Outcome = Answered | Throttled | Failed | OutOfTime | ModelUnfit | Refused
