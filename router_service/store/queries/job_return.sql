-- Give routed jobs back whose turn on their model did not come. ROUTED -> QUEUED, epoch + 1: a ticket that is left is stale.
WITH given AS (
  SELECT * FROM json_to_recordset(CAST(:tickets AS json)) AS g (id uuid, epoch integer)
), locked AS (
  SELECT j.id FROM jobs j JOIN given g ON g.id = j.id
  WHERE j.state = 'routed' AND j.epoch = g.epoch ORDER BY j.id FOR UPDATE OF j
), returned AS (
  UPDATE jobs j SET state = 'queued', epoch = j.epoch + 1, routed_at = NULL FROM locked l WHERE j.id = l.id
  RETURNING j.id, j.model_id, j.tenant_id, j.batch_id
)
SELECT r.*, b.max_parallel_requests AS batch_slots FROM returned r LEFT JOIN batches b ON b.id = r.batch_id
