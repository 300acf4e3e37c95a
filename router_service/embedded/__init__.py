"""Private Postgres, private Valkey and the processes of `waybill up`: no Docker, no services."""
