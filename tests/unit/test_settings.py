from __future__ import annotations

import pytest
from pydantic import SecretStr

from router_service.errors import SettingsError
from router_service.settings import Settings, load

REDIS, SOCKET, BROKER = (
    "redis://:x@host/0",
    "unix://:x@/run/redis.sock",
    "redis+socket://:x@/run/redis.sock?virtual_host=0",
)


def urls(redis_url: str, broker_url: str = "") -> Settings:
    return Settings(redis_url=SecretStr(redis_url), broker_url=SecretStr(broker_url))


def test_the_broker_is_the_redis_of_the_counters_where_no_other_is_named() -> None:
    assert urls(REDIS).broker == REDIS
    assert urls(SOCKET, BROKER).broker == BROKER


def test_a_socket_has_to_be_named_to_celery_in_its_own_way() -> None:
    with pytest.raises(SettingsError, match=r"WAYBILL_BROKER_URL is not set.*redis\+socket://"):
        _ = urls(SOCKET).broker


def test_a_wrong_setting_is_named_with_what_would_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYBILL_FAILPOINT", "nosuch:kill")
    with pytest.raises(
        SettingsError, match=r"^wrong settings: WAYBILL_FAILPOINT: no failpoint is named 'nosuch'; there are api"
    ):
        load()
