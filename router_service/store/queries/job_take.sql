-- Take queued jobs for routing and lock them: one from each lane in turn, the lanes from :first_lane on and round.
-- Lanes are found by a skip scan of jobs_queued. A job that no model may take is held, and passed over until then.
WITH RECURSIVE scan AS (
  (SELECT lane FROM jobs WHERE state = 'queued' ORDER BY lane LIMIT 1)
  UNION ALL
  SELECT (SELECT j.lane FROM jobs j WHERE j.state = 'queued' AND j.lane > s.lane ORDER BY j.lane LIMIT 1)
  FROM scan s WHERE s.lane IS NOT NULL
), lanes AS MATERIALIZED (
  SELECT lane FROM scan WHERE lane IS NOT NULL AND lane <> ALL (CAST(:blocked AS bigint[]))
), taken AS MATERIALIZED (
  SELECT j.* FROM lanes l CROSS JOIN LATERAL (
    SELECT id, tenant_id, epoch, attempt, lane, batch_id, model, tokens_in, tokens_out, features, residency, quality,
      excluded, priority, deadline
    FROM jobs WHERE state = 'queued' AND lane = l.lane AND (deadline IS NULL OR deadline > now())
      AND (held_until IS NULL OR held_until <= now())
    ORDER BY priority DESC, deadline, id
    LIMIT (SELECT greatest(1, :most / greatest(1, count(*))) FROM lanes)
    FOR UPDATE SKIP LOCKED
  ) j
)
SELECT * FROM taken
ORDER BY row_number() OVER (PARTITION BY lane ORDER BY priority DESC, deadline, id), lane < :first_lane, lane
LIMIT :most
