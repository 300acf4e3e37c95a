-- The server's version and its clock, in Unix seconds.
SELECT current_setting('server_version') AS version, extract(epoch FROM clock_timestamp())::float8 AS now_s
