-- Claim the jobs of a ticket and open the record of each call. ROUTED -> RUNNING by epoch, attempt + 1, lease.
WITH wanted AS (
  SELECT * FROM json_to_recordset(CAST(:tickets AS json)) AS w (id uuid, epoch integer)
), locked AS (
  SELECT j.id FROM jobs j JOIN wanted w ON w.id = j.id
  WHERE j.state = 'routed' AND j.epoch = w.epoch AND (j.deadline IS NULL OR j.deadline > now())
  ORDER BY j.id FOR UPDATE OF j
), claimed AS (
  UPDATE jobs j SET state = 'running', attempt = j.attempt + 1, worker = :worker, started_at = now(),
    lease_until = now() + make_interval(secs => :lease_s)
  FROM locked l WHERE j.id = l.id
  RETURNING j.id, j.tenant_id, j.batch_id, j.epoch, j.attempt, j.tries, j.model_id, j.tokens_in, j.tokens_out, j.deadline,
    j.residency, j.preferences
), opened AS (
  INSERT INTO attempts (job_id, attempt, epoch, model_id, worker)
  SELECT id, attempt, epoch, model_id, :worker FROM claimed
)
SELECT c.*, i.body, b.max_parallel_requests AS batch_slots, extract(epoch FROM c.deadline - now())::float8 AS left_s
FROM claimed c JOIN job_inputs i ON i.job_id = c.id LEFT JOIN batches b ON b.id = c.batch_id
