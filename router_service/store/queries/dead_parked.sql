-- Parked dead letters that an operator chose, with what is needed to queue their jobs again; locked.
SELECT d.id AS letter_id, j.id, j.tenant_id, j.epoch, j.model, j.tokens_in, j.tokens_out, j.features, j.residency,
  j.quality
FROM dead_letters d JOIN jobs j ON j.id = d.job_id
WHERE d.tenant_id = :tenant_id AND d.state = 'parked' AND j.state = 'failed'
  AND (CAST(:ids AS uuid[]) IS NULL OR d.id = ANY (CAST(:ids AS uuid[])))
  AND (CAST(:model AS text) IS NULL OR d.model_id = CAST(:model AS text))
  AND (CAST(:code AS text) IS NULL OR d.error_code = CAST(:code AS text))
  AND (CAST(:batch_id AS uuid) IS NULL OR d.batch_id = CAST(:batch_id AS uuid))
ORDER BY j.id LIMIT :most FOR UPDATE OF j, d
