-- Decisions with their inputs: of one job, of a batch, or of all of a tenant's jobs; a page in the order of job and epoch.
SELECT d.job_id, d.epoch, d.model_id, d.reason, d.policy, d.catalog, d.snapshot, d.candidates, d.inputs
FROM decisions d JOIN jobs j ON j.id = d.job_id
WHERE j.tenant_id = :tenant_id AND d.inputs IS NOT NULL
  AND (CAST(:job_id AS uuid) IS NULL OR d.job_id = CAST(:job_id AS uuid))
  AND (CAST(:batch_id AS uuid) IS NULL OR j.batch_id = CAST(:batch_id AS uuid))
  AND (CAST(:since AS timestamptz) IS NULL OR d.decided_at >= CAST(:since AS timestamptz))
  AND (CAST(:until AS timestamptz) IS NULL OR d.decided_at < CAST(:until AS timestamptz))
  AND (d.job_id, d.epoch) > (CAST(:after_job AS uuid), CAST(:after_epoch AS integer))
ORDER BY d.job_id, d.epoch LIMIT :most
