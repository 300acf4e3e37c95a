-- How far a batch is: jobs that may still be dealt out, those on their way by model and what their decisions expect them to
-- cost, and what all calls have cost so far.
SELECT
  count(*) FILTER (WHERE j.state IN ('queued', 'retry_wait')) AS left,
  (SELECT coalesce(json_object_agg(model_id, jobs), '{}') FROM (
    SELECT model_id, count(*) AS jobs FROM jobs
    WHERE batch_id = :id AND state IN ('routed', 'running') GROUP BY 1) under_way) AS under_way,
  (SELECT coalesce(sum(CAST(c.candidate ->> 'cost_usd' AS float8)), 0)
    FROM jobs u JOIN decisions d ON d.job_id = u.id AND d.epoch = u.epoch
      CROSS JOIN LATERAL jsonb_array_elements(d.candidates) AS c (candidate)
    WHERE u.batch_id = :id AND u.state IN ('routed', 'running') AND c.candidate ->> 'model' = u.model_id) AS under_way_usd,
  (SELECT coalesce(sum(a.cost_usd), 0)::float8 FROM jobs p JOIN attempts a ON a.job_id = p.id
    WHERE p.batch_id = :id) AS cost_usd
FROM jobs j WHERE j.batch_id = :id
