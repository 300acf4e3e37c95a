-- Queue jobs again whose ticket was not taken for too long. ROUTED -> QUEUED, epoch + 1: the old ticket is stale.
WITH stale AS (
  SELECT id, epoch, model_id FROM jobs WHERE state = 'routed' AND routed_at < now() - make_interval(secs => :stale_s)
  ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED
)
UPDATE jobs j SET state = 'queued', epoch = j.epoch + 1, routed_at = NULL
FROM stale s WHERE j.id = s.id
RETURNING j.id, s.epoch, s.model_id
