-- Cancel one job, running or not; the attempt is bumped so that a late finish is stale.
WITH before AS (
  SELECT id, state, epoch, attempt, model_id FROM jobs
  WHERE id = :id AND tenant_id = :tenant_id
    AND state IN ('queued', 'routed', 'running', 'retry_wait', 'dead')
  FOR UPDATE
), moved AS (
  UPDATE jobs j SET state = 'cancelled', attempt = j.attempt + (b.state = 'running')::integer, lease_until = NULL,
    worker = NULL, available_at = NULL, finished_at = now(), error_code = 'cancelled',
    error_message = 'cancelled by the caller'
  FROM before b WHERE j.id = b.id
), closed AS (
  UPDATE attempts a SET ended_at = now(), outcome = 'cancelled'
  FROM before b WHERE a.job_id = b.id AND a.attempt = b.attempt AND a.ended_at IS NULL
), settled AS (
  UPDATE dead_letters d SET state = 'discarded', settled_at = now()
  FROM before b WHERE d.job_id = b.id AND d.state = 'open'
)
SELECT id, state, epoch, model_id FROM before
