-- Jobs routed or running by model, but for those of a batch.
SELECT model_id, count(*) AS jobs FROM jobs
WHERE state IN ('routed', 'running') AND batch_id IS DISTINCT FROM CAST(:id AS uuid)
GROUP BY 1 ORDER BY 1
