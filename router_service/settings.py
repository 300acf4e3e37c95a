"""What an operator can set: environment variables with the prefix WAYBILL_, read once per process and passed on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from router_service import failpoints
from router_service.errors import SettingsError
from router_service.failpoints import Wish


class Settings(BaseSettings):
    """Every knob of a process. URLs are secrets: they hold passwords and are never printed."""

    model_config = SettingsConfigDict(env_prefix="WAYBILL_", extra="ignore", frozen=True)

    database_url: SecretStr = Field(
        default=SecretStr(""), description="postgresql://user:password@host/db; the store of jobs and results"
    )
    redis_url: SecretStr = Field(
        default=SecretStr(""), description="redis://:password@host/0; live concurrency and rate counters"
    )
    broker_url: SecretStr = Field(
        default=SecretStr(""), description="Celery's broker; the Redis of redis_url where it is not set"
    )
    config: Path | None = Field(default=None, description="the catalog file, in LiteLLM's YAML dialect")
    data_dir: Path = Field(
        default=Path(".waybill"), description="where `waybill up` keeps Postgres, Redis, keys and logs"
    )
    predictor: Path | None = Field(
        default=None, description="what `waybill train` wrote, for the router; the shipped one where it is not set"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    lease_s: float = Field(default=20.0, gt=0, description="a call whose worker is silent for so long is taken over")
    routed_stale_s: float = Field(default=30.0, gt=0, description="a ticket not taken for so long is issued anew")
    tick_s: float = Field(default=1.0, gt=0, description="the router and the janitor look for work at least so often")
    drain_s: float = Field(default=20.0, ge=0, description="calls in flight may go on for so long after SIGTERM")
    worker_concurrency: int = Field(default=1000, gt=0, description="tickets a provider worker holds at a time")
    local_processes: int = Field(default=1, gt=0, description="processes for the CPU work of `local/` models")
    failpoint: Annotated[Wish | None, NoDecode] = Field(
        default=None,
        description="NAME:kill|raise|sleep[=SECONDS]: a fault on purpose, once, in this process; for tests",
    )
    readiness_roles: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="comma-separated worker roles without which /readyz is 503"
    )

    @field_validator("readiness_roles", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("failpoint", mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        return failpoints.parse(value) if isinstance(value, str) else value

    @property
    def broker(self) -> str:
        """Raises SettingsError where the Redis of `redis_url` cannot be named to Celery by the same URL."""
        broker_url, redis_url = self.broker_url.get_secret_value(), self.redis_url.get_secret_value()
        if not broker_url and redis_url.startswith("unix:"):
            raise SettingsError(
                "WAYBILL_BROKER_URL is not set, and Celery does not take the unix:// of WAYBILL_REDIS_URL;"
                " give it as redis+socket://user:password@/path/to/socket?virtual_host=0"
            )
        return broker_url or redis_url


def load() -> Settings:
    """Read the environment. Raises SettingsError that names each wrong variable."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(
            f"WAYBILL_{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_input=False)
        )
        raise SettingsError(f"wrong settings: {wrong}") from error
