-- A page of a tenant's dead letters, newest first.
SELECT d.* FROM dead_letters d
WHERE d.tenant_id = :tenant_id
  AND (CAST(:after AS uuid) IS NULL OR
    (d.created_at, d.id) < (SELECT a.created_at, a.id FROM dead_letters a
      WHERE a.id = CAST(:after AS uuid) AND a.tenant_id = :tenant_id))
  AND (CAST(:state AS text) IS NULL OR d.state = CAST(:state AS text))
  AND (CAST(:ids AS uuid[]) IS NULL OR d.id = ANY (CAST(:ids AS uuid[])))
  AND (CAST(:model AS text) IS NULL OR d.model_id = CAST(:model AS text))
  AND (CAST(:code AS text) IS NULL OR d.error_code = CAST(:code AS text))
  AND (CAST(:batch_id AS uuid) IS NULL OR d.batch_id = CAST(:batch_id AS uuid))
  AND (CAST(:job_id AS uuid) IS NULL OR d.job_id = CAST(:job_id AS uuid))
  AND (CAST(:since AS timestamptz) IS NULL OR d.created_at >= CAST(:since AS timestamptz))
  AND (CAST(:until AS timestamptz) IS NULL OR d.created_at < CAST(:until AS timestamptz))
ORDER BY d.created_at DESC, d.id DESC LIMIT :most
