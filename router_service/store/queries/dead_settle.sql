-- Move dead jobs on: DEAD -> QUEUED with one more model excluded and the chain that is followed now, or DEAD -> FAILED,
-- parked for a replay.
-- Lost leases stay counted: a job that has had its three is given up at the next one.
WITH given AS (
  SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS g (
    id uuid, epoch integer, state text, lane bigint, excluded json, fallback text,
    reason text, policy text, catalog text, inputs json, candidates json)
), moved AS (
  UPDATE jobs j SET state = g.state, lane = g.lane, tries = 0, fallback = g.fallback,
    excluded = ARRAY(SELECT json_array_elements_text(g.excluded)),
    finished_at = CASE WHEN g.state = 'failed' THEN now() END
  FROM given g WHERE j.id = g.id AND j.state = 'dead' AND j.epoch = g.epoch
  RETURNING j.id, j.epoch, j.tenant_id, j.attempt, j.state
), settled AS (
  UPDATE dead_letters d SET state = CASE m.state WHEN 'queued' THEN 'rerouted' ELSE 'parked' END, settled_at = now()
  FROM moved m WHERE d.job_id = m.id AND d.attempt = m.attempt AND d.state = 'open'
), explained AS (
  INSERT INTO decisions (job_id, epoch, tenant_id, model_id, reason, policy, catalog, inputs, candidates)
  SELECT m.id, m.epoch + 1, m.tenant_id, NULL, g.reason, g.policy, g.catalog, g.inputs, g.candidates
  FROM moved m JOIN given g ON g.id = m.id WHERE m.state = 'failed'
  ON CONFLICT DO NOTHING
)
SELECT id, state FROM moved
