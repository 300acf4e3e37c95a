-- The dead jobs of a ticket, locked: what the dead-letter worker needs to look for another model.
WITH wanted AS (
  SELECT * FROM json_to_recordset(CAST(:tickets AS json)) AS w (id uuid, epoch integer)
)
SELECT j.id, j.tenant_id, j.epoch, j.attempt, j.model, j.model_id, j.tokens_in, j.tokens_out, j.features, j.residency,
  j.quality, j.excluded, j.error_code
FROM jobs j JOIN wanted w ON w.id = j.id
WHERE j.state = 'dead' AND j.epoch = w.epoch
ORDER BY j.id FOR UPDATE OF j SKIP LOCKED
