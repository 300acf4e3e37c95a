-- Parked dead letters that an operator chose, oldest first, with what is needed to queue their jobs again; locked.
-- Two operators at once get different ones. The letters come first: their index has them in order, however many there are.
WITH chosen AS MATERIALIZED (
  SELECT d.id, d.job_id FROM dead_letters d
  WHERE d.tenant_id = :tenant_id AND d.state = 'parked'
    AND (CAST(:ids AS uuid[]) IS NULL OR d.id = ANY (CAST(:ids AS uuid[])))
    AND (CAST(:model AS text) IS NULL OR d.model_id = CAST(:model AS text))
    AND (CAST(:code AS text) IS NULL OR d.error_code = CAST(:code AS text))
    AND (CAST(:batch_id AS uuid) IS NULL OR d.batch_id = CAST(:batch_id AS uuid))
    AND (CAST(:job_id AS uuid) IS NULL OR d.job_id = CAST(:job_id AS uuid))
    AND (CAST(:since AS timestamptz) IS NULL OR d.created_at >= CAST(:since AS timestamptz))
    AND (CAST(:until AS timestamptz) IS NULL OR d.created_at < CAST(:until AS timestamptz))
  ORDER BY d.created_at, d.id LIMIT :most FOR UPDATE SKIP LOCKED
)
SELECT c.id AS letter_id, j.id, j.tenant_id, j.epoch, j.model, j.tokens_in, j.tokens_out, j.features, j.residency,
  j.quality, j.preferences, 'general' AS fallback, j.batch_id IS NULL AS interactive
FROM chosen c JOIN jobs j ON j.id = c.job_id
WHERE j.state = 'failed' ORDER BY j.id FOR UPDATE OF j
