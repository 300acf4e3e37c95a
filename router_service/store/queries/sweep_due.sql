-- Queue jobs whose wait is over. RETRY_WAIT -> QUEUED.
WITH due AS (
  SELECT id FROM jobs WHERE state = 'retry_wait' AND available_at <= now()
  ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED
)
UPDATE jobs j SET state = 'queued', available_at = NULL FROM due d WHERE j.id = d.id
RETURNING j.id
