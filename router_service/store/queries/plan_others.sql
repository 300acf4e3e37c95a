-- Jobs routed or running by model and tenant, but for those of a batch, and of how many batches they are (single jobs count as one).
-- A branch for each state, so that each reads its own partial index.
SELECT model_id, tenant_id, count(*)::integer AS parties, sum(jobs)::bigint AS jobs FROM (
  SELECT model_id, tenant_id, batch_id, sum(jobs) AS jobs FROM (
    SELECT model_id, tenant_id, batch_id, count(*) AS jobs FROM jobs
    WHERE state = 'routed' AND (CAST(:id AS uuid) IS NULL OR batch_id IS DISTINCT FROM CAST(:id AS uuid)) GROUP BY 1, 2, 3
    UNION ALL
    SELECT model_id, tenant_id, batch_id, count(*) AS jobs FROM jobs
    WHERE state = 'running' AND (CAST(:id AS uuid) IS NULL OR batch_id IS DISTINCT FROM CAST(:id AS uuid)) GROUP BY 1, 2, 3
  ) by_state GROUP BY 1, 2, 3
) by_party
GROUP BY 1, 2 ORDER BY 1, 2
