-- How many parked dead letters an operator would touch, and by which time they were counted.
SELECT count(*) AS letters, now() AS counted_at FROM dead_letters d
WHERE d.tenant_id = :tenant_id AND d.state = 'parked'
  AND (CAST(:ids AS uuid[]) IS NULL OR d.id = ANY (CAST(:ids AS uuid[])))
  AND (CAST(:model AS text) IS NULL OR d.model_id = CAST(:model AS text))
  AND (CAST(:code AS text) IS NULL OR d.error_code = CAST(:code AS text))
  AND (CAST(:batch_id AS uuid) IS NULL OR d.batch_id = CAST(:batch_id AS uuid))
  AND (CAST(:job_id AS uuid) IS NULL OR d.job_id = CAST(:job_id AS uuid))
  AND (CAST(:since AS timestamptz) IS NULL OR d.created_at >= CAST(:since AS timestamptz))
  AND (CAST(:until AS timestamptz) IS NULL OR d.created_at < CAST(:until AS timestamptz))
