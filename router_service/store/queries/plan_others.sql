-- Jobs routed or running by model, but for those of a batch. A branch for each state, so that each reads its own partial index.
SELECT model_id, sum(jobs)::bigint AS jobs FROM (
  SELECT model_id, count(*) AS jobs FROM jobs
  WHERE state = 'routed' AND batch_id IS DISTINCT FROM CAST(:id AS uuid) GROUP BY 1
  UNION ALL
  SELECT model_id, count(*) AS jobs FROM jobs
  WHERE state = 'running' AND batch_id IS DISTINCT FROM CAST(:id AS uuid) GROUP BY 1
) by_state
GROUP BY 1 ORDER BY 1
