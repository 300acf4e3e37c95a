"""API keys: `wb_<prefix>_<secret>`. The secret has 256 random bits, so a plain SHA-256 of the key is safe to store."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_service.store.session import Session

PREFIX_HEX = 12
FORM = re.compile(rf"wb_([0-9a-f]{{{PREFIX_HEX}}})_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who a request comes from."""

    tenant_id: str
    key_prefix: str


async def issue(session: Session, *, tenant_id: str, name: str, prefix: str, secret: str) -> str:
    """Store a new key's digest and return the key itself, which is shown this once. Makes the tenant where it is new."""
    key = f"wb_{prefix}_{secret}"
    await session.rows("key_issue", prefix=prefix, tenant_id=tenant_id, name=name, digest=digest(key))
    return key


async def authenticate(session: Session, key: str) -> Principal | None:
    """Whose key this is, or None where it is nobody's or revoked."""
    prefix = prefix_of(key)
    row = await session.row("key_find", prefix=prefix) if prefix else None
    if row is None or not hmac.compare_digest(row.digest, digest(key)):
        return None
    return Principal(tenant_id=row.tenant_id, key_prefix=row.prefix)


async def listed(session: Session) -> Sequence[dict[str, Any]]:
    return [dict(row._mapping) for row in await session.rows("key_list")]  # noqa: SLF001 (SQLAlchemy's name)


async def revoke(session: Session, *, prefix: str) -> bool:
    """Revoke a key. False where there is none, or it was revoked before."""
    return bool(await session.rows("key_revoke", prefix=prefix))


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def prefix_of(key: str) -> str | None:
    match = FORM.match(key)
    return match[1] if match else None
