-- A page of a tenant's jobs, newest first.
SELECT j.* FROM jobs j
WHERE j.tenant_id = :tenant_id
  AND (CAST(:before AS uuid) IS NULL OR j.id < CAST(:before AS uuid))
  AND (CAST(:state AS text) IS NULL OR j.state = CAST(:state AS text))
  AND (CAST(:batch_id AS uuid) IS NULL OR j.batch_id = CAST(:batch_id AS uuid))
  AND (CAST(:model AS text) IS NULL OR CAST(:model AS text) IN (j.model, j.model_id))
ORDER BY j.id DESC LIMIT :most
