-- Seconds until the next retry is due.
SELECT extract(epoch FROM min(available_at) - now())::float8 AS left_s FROM jobs WHERE state = 'retry_wait'
