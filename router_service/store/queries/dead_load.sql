-- The dead jobs of a ticket, locked: what the dead-letter worker needs to look for another model. `fallback` is the kind of
-- the letter; a job whose content was refused once stays on the chain for that, whatever made its last model give up.
WITH wanted AS (
  SELECT * FROM json_to_recordset(CAST(:tickets AS json)) AS w (id uuid, epoch integer)
)
SELECT j.id, j.tenant_id, j.epoch, j.attempt, j.model, j.model_id, j.tokens_in, j.tokens_out, j.features, j.residency,
  j.quality, j.preferences, j.excluded, j.error_code, j.batch_id IS NULL AS interactive, b.plan,
  CASE WHEN j.fallback = 'content_policy' THEN j.fallback ELSE coalesce(d.fallback, 'general') END AS fallback
FROM jobs j JOIN wanted w ON w.id = j.id
LEFT JOIN dead_letters d ON d.job_id = j.id AND d.attempt = j.attempt
LEFT JOIN batches b ON b.id = j.batch_id
WHERE j.state = 'dead' AND j.epoch = w.epoch
ORDER BY j.id FOR UPDATE OF j SKIP LOCKED
