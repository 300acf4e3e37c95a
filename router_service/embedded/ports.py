"""TCP ports and HTTP addresses of the stack."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

from router_service.errors import StackError

LOOPBACK = "127.0.0.1"


def require_free(host: str, port: int, *, what: str, how: str) -> None:
    """Raise StackError where nobody could listen there; `how` tells how to choose another port."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise StackError(f"{what} cannot listen on the host {host!r}: {error.strerror}") from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            raise StackError(f"{what} cannot listen on {host} port {port} ({error.strerror}): {how}") from error


def choose(*, preferred: int | None = None) -> int:
    """The preferred loopback port if it is free, else one that the kernel picks."""
    for port in (preferred, 0):
        if port is None:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StackError("this machine has no free loopback port")


def http_url(host: str, port: int) -> str:
    """The address by which this machine reaches a server that listens on `host`."""
    reached = {"0.0.0.0": LOOPBACK, "": LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104 (not a bind)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def probe(url: str, *, timeout_s: float = 2.0) -> tuple[int, str]:
    """The status of a GET and the start of its body; status 0 and the reason when there is no answer.

    Never through a proxy of the environment: the address is on this machine.
    """
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=timeout_s) as answer:
            return answer.status, answer.read(2_000).decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(2_000).decode(errors="replace")
    except (OSError, ValueError) as error:
        return 0, str(error)
