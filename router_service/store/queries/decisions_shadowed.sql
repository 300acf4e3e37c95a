-- The latest decisions on which a shadow policy decided too.
SELECT d.model_id, d.candidates, d.shadow
FROM decisions d JOIN jobs j ON j.id = d.job_id
WHERE j.tenant_id = :tenant_id AND d.inputs IS NOT NULL AND d.shadow ->> 'policy' = :policy
  AND (CAST(:job_id AS uuid) IS NULL OR d.job_id = CAST(:job_id AS uuid))
  AND (CAST(:batch_id AS uuid) IS NULL OR j.batch_id = CAST(:batch_id AS uuid))
  AND (CAST(:since AS timestamptz) IS NULL OR d.decided_at >= CAST(:since AS timestamptz))
  AND (CAST(:until AS timestamptz) IS NULL OR d.decided_at < CAST(:until AS timestamptz))
ORDER BY d.decided_at DESC LIMIT :most
