"""Settings of the private Postgres: a durable queue on a small machine, reached over one socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ACCESS = """\
# TYPE  DATABASE  USER  METHOD
local   all       all   scram-sha-256
"""

_SETTINGS: dict[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "128MB",
    "io_method": "sync",  # no extra I/O workers: the working set of a queue is in memory
    "max_parallel_workers_per_gather": "0",  # no dynamic shared memory, which containers keep small
    "jit": "off",
    "wal_compression": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "10min",
    # A queue's rows change states several times within seconds: vacuum early and often, or its indexes swell.
    "autovacuum_naptime": "10s",
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_insert_scale_factor": "0.1",
    "autovacuum_analyze_scale_factor": "0.05",
    "autovacuum_vacuum_cost_delay": "1ms",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_min_duration_statement": "-1",  # statements carry prompts; none is ever logged
    "log_min_error_statement": "panic",  # nor with an error
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",  # no DETAIL: it shows the failing row
    "log_checkpoints": "off",
}
_DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
_FORGETFUL = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


def render(*, socket_dir: Path, port: int, durable: bool) -> str:
    """The text of postgresql.conf."""
    settings = {
        **_SETTINGS,
        **(_DURABLE if durable else _FORGETFUL),
        "unix_socket_directories": str(socket_dir),
        "port": str(port),
    }
    lines = [f"{name} = '{value.replace(chr(39), 2 * chr(39))}'" for name, value in settings.items()]
    return "# Written by Waybill at every start; changes made here are lost.\n" + "\n".join(lines) + "\n"
