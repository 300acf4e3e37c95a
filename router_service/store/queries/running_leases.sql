-- Every call in flight, from which the live counters are rebuilt.
SELECT id, epoch, model_id, greatest(0, extract(epoch FROM lease_until - now()))::float8 AS left_s
FROM jobs WHERE state = 'running' ORDER BY id
