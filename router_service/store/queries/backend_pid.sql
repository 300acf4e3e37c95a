-- The process that serves this connection, for a measurement on the same machine.
SELECT pg_backend_pid() AS pid
