-- Take calls over whose worker fell silent. RUNNING -> RETRY_WAIT, or DEAD at the third lost lease.
-- The retries are spread, the more the oftener it happened: one job that kills its workers then takes fewer others along.
-- A lease from before the database's own start is given one lease more: its worker could not renew it.
WITH lost AS (
  SELECT id FROM jobs WHERE state = 'running' AND lease_until < now()
    AND pg_postmaster_start_time() < now() - make_interval(secs => :lease_s)
  ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED
), moved AS (
  UPDATE jobs j SET lease_until = NULL, worker = NULL, lost_leases = j.lost_leases + 1,
    state = CASE WHEN j.lost_leases + 1 < :poison THEN 'retry_wait' ELSE 'dead' END,
    available_at = CASE WHEN j.lost_leases + 1 < :poison
      THEN now() + make_interval(secs => random() * j.lost_leases * 5) END,
    error_code = 'lease_expired', error_message = 'the worker fell silent during the call'
  FROM lost l WHERE j.id = l.id
  RETURNING j.id, j.tenant_id, j.batch_id, j.model_id, j.epoch, j.attempt, j.state, j.lost_leases
), closed AS (
  UPDATE attempts a SET ended_at = now(), outcome = 'lost', error_code = 'lease_expired'
  FROM moved m WHERE a.job_id = m.id AND a.attempt = m.attempt AND a.ended_at IS NULL
), lettered AS (
  INSERT INTO dead_letters (tenant_id, job_id, batch_id, model_id, attempt, error_code, error_message)
  SELECT tenant_id, id, batch_id, model_id, attempt, 'poison', 'its worker fell silent ' || lost_leases || ' times'
  FROM moved WHERE state = 'dead'
)
SELECT id, epoch, model_id, state FROM moved
