-- Assign queued jobs to models, and store why. QUEUED -> ROUTED, epoch + 1.
WITH chosen AS (
  SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS c (id uuid, epoch integer, model_id text, reason text, policy text,
    catalog text, snapshot text, inputs json, shadow json, candidates json)
), moved AS (
  UPDATE jobs j SET state = 'routed', epoch = j.epoch + 1, model_id = c.model_id, routed_at = now()
  FROM chosen c WHERE j.id = c.id AND j.state = 'queued' AND j.epoch = c.epoch
  RETURNING j.id, j.epoch, j.tenant_id
), explained AS (
  INSERT INTO decisions (job_id, epoch, tenant_id, model_id, reason, policy, catalog, snapshot, inputs, shadow, candidates)
  SELECT m.id, m.epoch, m.tenant_id, c.model_id, c.reason, c.policy, c.catalog, c.snapshot, c.inputs, c.shadow, c.candidates
  FROM moved m JOIN chosen c ON c.id = m.id
)
SELECT id, epoch FROM moved
