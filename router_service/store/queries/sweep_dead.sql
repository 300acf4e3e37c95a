-- Dead jobs that no dead-letter worker has looked at for a while: their ticket was lost, and is sent anew once in that while.
WITH silent AS (
  SELECT d.id, j.id AS job_id, j.epoch, j.model_id
  FROM jobs j JOIN dead_letters d ON d.job_id = j.id AND d.attempt = j.attempt
  WHERE j.state = 'dead' AND d.sent_at < now() - make_interval(secs => :stale_s)
  ORDER BY d.id LIMIT :most FOR UPDATE OF d SKIP LOCKED
)
UPDATE dead_letters d SET sent_at = now() FROM silent s WHERE d.id = s.id
RETURNING s.job_id AS id, s.epoch, s.model_id
