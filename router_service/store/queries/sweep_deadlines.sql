-- Expire what was not begun in time. QUEUED|ROUTED|RETRY_WAIT|DEAD -> EXPIRED.
WITH over AS (
  SELECT id, state, epoch, model_id, held_until FROM jobs
  WHERE deadline <= now() AND state IN ('queued', 'routed', 'retry_wait', 'dead')
  ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED
), moved AS (
  UPDATE jobs j SET state = 'expired', finished_at = now(), available_at = NULL, error_code = 'deadline_exceeded',
    error_message = 'the deadline passed while the job was ' || o.state
      || CASE WHEN o.held_until IS NOT NULL THEN ': no model on offer might take it' ELSE '' END
  FROM over o WHERE j.id = o.id
), settled AS (
  UPDATE dead_letters d SET state = 'discarded', settled_at = now()
  FROM over o WHERE d.job_id = o.id AND d.state = 'open'
)
SELECT id, state, epoch, model_id FROM over
