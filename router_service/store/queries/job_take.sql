-- Take queued jobs for routing and lock them: for each tenant a part of what is asked for, of that an even part for each of its
-- lanes. Half is even over tenants, half goes by how small their next jobs are, since fairness counts tokens. The cost grows with
-- the lanes looked at and the rows taken, never with the backlog. Jobs whose hold is over are let go here, for the next take.
WITH RECURSIVE released AS (
  UPDATE jobs SET held_until = NULL WHERE id IN (
    SELECT id FROM jobs WHERE state = 'queued' AND held_until <= now() ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED)
), ring (lowest, first, highest) AS (
  -- The interactive lanes, below 0, and, unless only those are asked for, those of batches; each kind from a lane on and round.
  SELECT CASE kind WHEN 0 THEN -9223372036854775807 ELSE 0 END, CASE kind WHEN 0 THEN ~n ELSE n END,
    CASE kind WHEN 0 THEN -1 ELSE 9223372036854775807 END
  FROM (SELECT coalesce(CAST(:first_lane AS bigint), floor(random() * 9e18)::bigint)) given (lane),
    LATERAL (SELECT CASE WHEN lane < 0 THEN ~lane ELSE lane END AS n) start,
    generate_series(0, 1 - CAST(:only_urgent AS boolean)::integer) kind
), scan AS (
  -- A skip scan of jobs_queued: the head of each lane up to the highest, then from the lowest up to where it began.
  SELECT r.*, 0 AS round, r.first - 1 AS lane, '' AS tenant_id, 0 AS tokens, false AS open, 0 AS found FROM ring r
  UNION ALL
  SELECT s.lowest, s.first, s.highest, s.round + (head.lane IS NULL)::integer, coalesce(head.lane, s.lowest - 1),
    head.tenant_id, head.tokens, o.open, s.found + o.open::integer
  FROM scan s LEFT JOIN LATERAL (
    SELECT lane, tenant_id, tokens_in + coalesce(tokens_out, :typical_out) AS tokens FROM jobs
    WHERE state = 'queued' AND held_until IS NULL AND lane > s.lane
      AND lane <= CASE s.round WHEN 0 THEN s.highest ELSE s.first - 1 END
    ORDER BY lane, rank, id LIMIT 1
  ) head ON true CROSS JOIN LATERAL (
    SELECT head.lane IS NOT NULL AND head.lane NOT IN (SELECT unnest(CAST(:blocked AS bigint[]))) AS open
  ) o
  WHERE s.round < 2 AND s.found < :lanes
), lanes AS MATERIALIZED (
  -- The first lane of each tenant, then the second of each; interactive ones first.
  SELECT lane, tenant_id, tokens FROM scan WHERE open
  ORDER BY row_number() OVER (PARTITION BY tenant_id ORDER BY lane >= 0, round, lane), lane >= 0, round, lane LIMIT :most
), tenants AS (
  SELECT tenant_id, count(*) AS lanes, 1 / greatest(1, avg(tokens)) AS thrift FROM lanes GROUP BY tenant_id
), shares AS MATERIALIZED (
  SELECT tenant_id, ceil(:most * (0.5 / count(*) OVER () + 0.5 * thrift / sum(thrift) OVER ()) / lanes) AS rows FROM tenants
), taken AS MATERIALIZED (
  SELECT j.* FROM lanes l JOIN shares s USING (tenant_id) CROSS JOIN LATERAL (
    SELECT id, tenant_id, epoch, attempt, lane, batch_id, model, tokens_in, tokens_out, features, residency, quality,
      preferences, excluded, fallback, rank, CASE WHEN tries > 0 THEN model_id END AS tried,
      extract(epoch FROM deadline - now())::float8 AS left_s
    FROM jobs WHERE state = 'queued' AND held_until IS NULL AND lane = l.lane AND (deadline IS NULL OR deadline > now())
    ORDER BY rank, id LIMIT s.rows FOR UPDATE SKIP LOCKED
  ) j
), placed AS (
  SELECT *, row_number() OVER (PARTITION BY lane ORDER BY rank, id) AS place FROM taken
)
SELECT p.*, b.max_parallel_requests AS batch_slots, b.plan,
  coalesce(b.plan IS NULL AND b.plan_until > now(), false) AS awaits_plan
FROM placed p LEFT JOIN batches b ON b.id = p.batch_id
ORDER BY row_number() OVER (PARTITION BY p.tenant_id ORDER BY p.lane >= 0, p.place, p.rank, p.id), p.rank, p.id
LIMIT :most
