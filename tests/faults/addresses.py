"""A server's URL with another socket in it: how a process is led over a link instead."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit


def socket_of(database_url: str) -> Path:
    given = parse_qs(urlsplit(database_url).query)
    return Path(given["host"][0]) / f".s.PGSQL.{given['port'][0]}"


def with_folder(database_url: str, folder: Path) -> str:
    parts = urlsplit(database_url)
    return urlunsplit(
        parts._replace(query=f"host={quote(str(folder), safe='/')}&port={parse_qs(parts.query)['port'][0]}")
    )


def path_of(redis_url: str) -> Path:
    return Path(urlsplit(redis_url).path)


def with_path(redis_url: str, path: Path) -> str:
    return urlunsplit(urlsplit(redis_url)._replace(path=str(path)))
