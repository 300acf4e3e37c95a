-- End calls: move each job on by its attempt, store its result, close its record, write its dead letter; all or nothing.
-- A job that somebody else moved meanwhile is left alone, and its call is recorded as `late`, with what it cost. Run again after an unknown COMMIT it answers `repeated`.
-- The ids are given once more as an array, by which the planner sees that few rows are meant: else it reads all of `attempts`.
WITH given AS (
  SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS g (
    id uuid, attempt integer, state text, outcome text, status_code integer, error_code text, error_message text,
    delay_s float8, counted boolean, body text, tokens_in integer, tokens_out integer, cost_usd numeric, fallback text,
    began_ago_s float8, ended_ago_s float8)
), locked AS (
  SELECT j.id FROM jobs j JOIN given g ON g.id = j.id
  WHERE j.state = 'running' AND j.attempt = g.attempt ORDER BY j.id FOR UPDATE OF j
), moved AS (
  UPDATE jobs j SET state = g.state, lease_until = NULL, worker = NULL,
    tries = j.tries + g.counted::integer, error_code = g.error_code, error_message = g.error_message,
    available_at = CASE WHEN g.state = 'retry_wait' THEN now() + make_interval(secs => g.delay_s) END,
    finished_at = CASE WHEN g.state IN ('succeeded', 'failed') THEN now() END
  FROM given g JOIN locked l ON l.id = g.id WHERE j.id = g.id AND j.attempt = g.attempt
  RETURNING j.id, j.tenant_id, j.batch_id, j.model_id, j.epoch, j.attempt, j.state
), stored AS (
  INSERT INTO job_results (job_id, attempt, model_id, status_code, body, tokens_in, tokens_out, cost_usd)
  SELECT m.id, m.attempt, m.model_id, g.status_code, g.body, coalesce(g.tokens_in, 0), coalesce(g.tokens_out, 0), g.cost_usd
  FROM moved m JOIN given g ON g.id = m.id AND g.attempt = m.attempt WHERE m.state IN ('succeeded', 'failed') AND g.body IS NOT NULL
), closed AS (
  UPDATE attempts a SET ended_at = coalesce(a.ended_at, now() - make_interval(secs => g.ended_ago_s)),
    started_at = coalesce(now() - make_interval(secs => g.began_ago_s), a.started_at),
    outcome = CASE WHEN a.ended_at IS NULL THEN g.outcome ELSE 'late' END, status_code = g.status_code, error_code = g.error_code,
    error_message = g.error_message, tokens_in = g.tokens_in, tokens_out = g.tokens_out, cost_usd = g.cost_usd
  FROM given g WHERE a.job_id = g.id AND a.attempt = g.attempt AND a.job_id = ANY (CAST(:ids AS uuid[]))
    AND (a.ended_at IS NULL OR a.outcome IN ('lost', 'cancelled'))
), lettered AS (
  INSERT INTO dead_letters (tenant_id, job_id, batch_id, model_id, attempt, status_code, error_code, error_message, fallback)
  SELECT m.tenant_id, m.id, m.batch_id, m.model_id, m.attempt, g.status_code, g.error_code, g.error_message, g.fallback
  FROM moved m JOIN given g ON g.id = m.id AND g.attempt = m.attempt WHERE m.state = 'dead'
)
SELECT g.id, g.attempt, m.epoch, m.model_id, m.state,
  CASE WHEN m.id IS NOT NULL THEN 'moved' WHEN a.outcome = g.outcome THEN 'repeated' ELSE 'stale' END AS fate
FROM given g
LEFT JOIN moved m ON m.id = g.id AND m.attempt = g.attempt
LEFT JOIN attempts a ON a.job_id = g.id AND a.attempt = g.attempt AND a.job_id = ANY (CAST(:ids AS uuid[]))
