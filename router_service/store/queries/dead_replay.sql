-- Replay failed jobs, all models allowed again, along the general chain. FAILED -> QUEUED, epoch + 1. A deadline that has
-- passed no longer binds.
WITH given AS (
  SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS g (
    id uuid, letter_id uuid, epoch integer, lane bigint, model text)
), moved AS (
  UPDATE jobs j SET state = 'queued', epoch = j.epoch + 1, tries = 0, lost_leases = 0, excluded = '{}', lane = g.lane,
    fallback = 'general', model = g.model, finished_at = NULL, error_code = NULL, error_message = NULL,
    deadline = CASE WHEN j.deadline > now() THEN j.deadline END
  FROM given g WHERE j.id = g.id AND j.state = 'failed' AND j.epoch = g.epoch
  RETURNING j.id
), settled AS (
  UPDATE dead_letters d SET state = 'replayed', settled_at = now()
  FROM given g JOIN moved m ON m.id = g.id WHERE d.id = g.letter_id
)
SELECT id FROM moved
