-- How far a batch is: jobs that may still be dealt out, those on their way by model, and what it has cost so far (each call counts).
SELECT
  count(*) FILTER (WHERE j.state IN ('queued', 'retry_wait')) AS left,
  count(*) FILTER (WHERE j.state = 'succeeded') AS done,
  coalesce((SELECT json_object_agg(model_id, jobs) FROM (
    SELECT model_id, count(*) AS jobs FROM jobs
    WHERE batch_id = :id AND state IN ('routed', 'running') GROUP BY 1) under_way), '{}') AS under_way,
  coalesce(sum((SELECT sum(a.cost_usd) FROM attempts a WHERE a.job_id = j.id)), 0)::float8 AS cost_usd
FROM jobs j WHERE j.batch_id = :id
