-- Pass queued jobs over for a while that no model on offer may take.
WITH given AS (
  SELECT unnest(CAST(:ids AS uuid[])) AS id
), locked AS (
  SELECT j.id FROM jobs j JOIN given g ON g.id = j.id WHERE j.state = 'queued' ORDER BY j.id FOR UPDATE OF j
)
UPDATE jobs j SET held_until = now() + make_interval(secs => :hold_s) FROM locked l WHERE j.id = l.id
RETURNING j.id
