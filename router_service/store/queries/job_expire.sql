-- End queued jobs that no model can answer in time, each with its reason. QUEUED -> EXPIRED by epoch.
WITH given AS (
  SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS g (id uuid, epoch integer, message text)
), locked AS (
  SELECT j.id, g.message FROM jobs j JOIN given g ON g.id = j.id
  WHERE j.state = 'queued' AND j.epoch = g.epoch ORDER BY j.id FOR UPDATE OF j
)
UPDATE jobs j SET state = 'expired', finished_at = now(), error_code = 'deadline_exceeded', error_message = l.message
FROM locked l WHERE j.id = l.id
RETURNING j.id
