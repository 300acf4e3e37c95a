-- The calls of a job to one model, up to the one that it was given up with, in order.
SELECT attempt, model_id, outcome, status_code, error_code, error_message, started_at, ended_at,
  (extract(epoch FROM ended_at - started_at) * 1000)::float8 AS latency_ms, tokens_in, tokens_out, cost_usd::float8
FROM attempts WHERE job_id = :job_id AND model_id = :model_id AND attempt <= :attempt ORDER BY attempt
