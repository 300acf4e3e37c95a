-- A batch's jobs by state and model, with tokens and cost so far.
SELECT j.state, coalesce(r.model_id, j.model_id) AS model_id, count(*) AS jobs,
  coalesce(sum(r.tokens_in), 0)::bigint AS tokens_in, coalesce(sum(r.tokens_out), 0)::bigint AS tokens_out,
  coalesce(sum(r.cost_usd), 0)::float8 AS cost_usd
FROM jobs j LEFT JOIN job_results r ON r.job_id = j.id
WHERE j.batch_id = :batch_id
GROUP BY 1, 2 ORDER BY 1, 2
