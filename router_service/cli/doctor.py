"""doctor: every dependency and setting, each with what to do about it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from router_service.cli import output
from router_service.cli.exits import ExitCode
from router_service.cli.session import JsonFlag, Options, options
from router_service.embedded import state
from router_service.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router_service.cli.checks import Finding, Target

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def command(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", help="The catalog file to check; else WAYBILL_CONFIG.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Check what Waybill needs. Exit code 1 where something does not work."""
    from router_service.cli.checks import Level  # noqa: PLC0415 the checks are slow to load

    findings = list(examine(options(context), config=config))
    if json:
        output.print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            _print(finding)
    if any(finding.level is Level.FAIL for finding in findings):
        raise typer.Exit(ExitCode.FAILED)


def examine(chosen: Options, *, config: Path | None) -> Iterator[Finding]:
    """All findings, each as soon as it is known. A check that breaks is itself a finding, and the others go on."""
    from router_service.cli import checks  # noqa: PLC0415 slow to load
    from router_service.cli.checks import Finding, Level  # noqa: PLC0415 as above

    try:
        target = _target(chosen, config=config)
    except SettingsError as error:
        yield Finding(check="settings", level=Level.FAIL, detail=str(error), advice="mend or unset those variables")
        return
    yield Finding(check="settings", level=Level.OK, detail="every WAYBILL_ variable is right")
    for check in checks.ALL:
        try:
            yield from check(target)
        except Exception as error:  # noqa: BLE001 the loop over all checks: a broken one must not hide the others
            yield Finding(
                check=check.__name__,
                level=Level.FAIL,
                detail=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
                advice="this check broke: please report it with the line above",
            )


def _target(chosen: Options, *, config: Path | None) -> Target:
    """Settings first, then the running stack."""
    from router_service import settings  # noqa: PLC0415 slow to load
    from router_service.cli.checks import Target  # noqa: PLC0415 as above

    named, running = settings.load(), state.load_state(chosen.data_dir)
    return Target(
        data_dir=chosen.data_dir,
        config=config or named.config or (Path(running.config) if running and running.config else None),
        api_url=chosen.url or (running.api_url if running else None),
        database_url=named.database_url.get_secret_value() or (running.database_url if running else ""),
        redis_url=named.redis_url.get_secret_value() or (running.redis_url if running else ""),
        predictor=named.predictor,
        broker_url=named.broker or (running.broker_url if running else ""),
    )


def _print(finding: Finding) -> None:
    line = Text()
    line.append(f"{finding.level:<5}", style=STYLES[finding.level])
    line.append(f"{output.safe_line(finding.check)}: {output.safe_line(finding.detail)}")
    if finding.advice:
        line.append(f"\n     → {output.safe_line(finding.advice)}", style="dim")
    output.out_console().print(line, soft_wrap=True)
