"""What `waybill up` says: where everything is, and what keeps it from starting. Never a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.embedded import ports
from router_service.embedded.process import tail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_service.embedded.roles import Plan
    from router_service.embedded.supervisor import ChildProcess, Supervisor


def table(plan: Plan) -> str:
    """The addresses, and the files with the credentials for them."""
    folder = plan.data_dir
    rows = [("API", ports.http_url(plan.host, plan.port), f"key in {folder / 'api-key'}")]
    if plan.flower_port is not None:
        flower = ports.http_url(ports.LOOPBACK, plan.flower_port)
        rows.append(("Flower", flower, f"password in {folder / 'flower-password'}"))
    rows += [
        ("Database", "private socket", f"URL in {folder / 'stack.json'}"),
        ("Logs", str(folder / "logs"), ""),
    ]
    width = max(len(where) for _, where, _ in rows)
    return "\n".join(f"  {what:<9} {where:<{width}}  {hint}".rstrip() for what, where, hint in rows)


def not_ready(
    plan: Plan,
    children: Sequence[ChildProcess],
    keeper: Supervisor,
    *,
    status: int,
    body: str,
    waited_s: float,
) -> str:
    """Why the API never said it was ready: its last answer, and the end of the log of each role at fault.

    At fault are roles that ended; where none did, the API when it gave no answer, else those whom it names.
    """
    ended = [child for child in children if keeper.failures(child.name)]
    named = [child for child in children if status and child.name.partition("-")[0] in body]
    at_fault = ended or named or [child for child in children if child.name == "api"]
    url = f"{ports.http_url(plan.host, plan.port)}/readyz"
    answer = f"status {status}: {body[:500]}" if status else body
    lines = [f"the stack was not ready after {waited_s:.0f} s and is stopped. {url} said last: {answer}"]
    lines += [f"--- the end of {child.log}\n{tail(child.log)}" for child in at_fault]
    return "\n".join(lines)
