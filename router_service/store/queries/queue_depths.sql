-- Live jobs by state and model, for metrics.
SELECT state, coalesce(model_id, model) AS model, count(*) AS jobs FROM jobs
WHERE state IN ('queued', 'routed', 'running', 'retry_wait', 'dead') GROUP BY 1, 2 ORDER BY 1, 2
