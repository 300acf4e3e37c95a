-- Jobs beyond the line by state and model, for metrics. A branch for each state, so that each reads its own partial index.
SELECT state, coalesce(model_id, model) AS model, count(*) AS jobs FROM jobs WHERE state = 'routed' GROUP BY 1, 2
UNION ALL
SELECT state, coalesce(model_id, model) AS model, count(*) AS jobs FROM jobs WHERE state = 'running' GROUP BY 1, 2
UNION ALL
SELECT state, coalesce(model_id, model) AS model, count(*) AS jobs FROM jobs WHERE state = 'retry_wait' GROUP BY 1, 2
UNION ALL
SELECT state, coalesce(model_id, model) AS model, count(*) AS jobs FROM jobs WHERE state = 'dead' GROUP BY 1, 2
