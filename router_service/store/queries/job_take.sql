-- Take queued jobs for routing, an equal share from each lane, and lock them. Lanes are found by a skip scan of jobs_queued.
WITH RECURSIVE scan AS (
  (SELECT lane FROM jobs WHERE state = 'queued' ORDER BY lane LIMIT 1)
  UNION ALL
  SELECT (SELECT j.lane FROM jobs j WHERE j.state = 'queued' AND j.lane > s.lane ORDER BY j.lane LIMIT 1)
  FROM scan s WHERE s.lane IS NOT NULL
), lanes AS MATERIALIZED (
  SELECT lane FROM scan WHERE lane IS NOT NULL AND lane <> ALL (CAST(:blocked AS bigint[]))
)
SELECT j.* FROM lanes l CROSS JOIN LATERAL (
  SELECT id, tenant_id, epoch, attempt, lane, batch_id, model, tokens_in, tokens_out, features, residency, quality, excluded
  FROM jobs WHERE state = 'queued' AND lane = l.lane AND (deadline IS NULL OR deadline > now())
  ORDER BY priority DESC, deadline, id
  LIMIT (SELECT greatest(1, :most / greatest(1, count(*))) FROM lanes)
  FOR UPDATE SKIP LOCKED
) j
LIMIT :most
