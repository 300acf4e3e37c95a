-- Prolong the leases of running calls; a job that is not returned is no longer this worker's.
WITH given AS (
  SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS g (id uuid, attempt integer)
), locked AS (
  SELECT j.id FROM jobs j JOIN given g ON g.id = j.id
  WHERE j.state = 'running' AND j.attempt = g.attempt ORDER BY j.id FOR UPDATE OF j
)
UPDATE jobs j SET lease_until = now() + make_interval(secs => :lease_s)
FROM locked l WHERE j.id = l.id
RETURNING j.id, j.attempt
