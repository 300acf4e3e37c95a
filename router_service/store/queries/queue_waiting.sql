-- What waits in line, by the model asked for: how many jobs, and how long the next of a lane has waited, the longest over lanes.
-- The cost does not grow with the line. Of it so many rows are counted, an even part of each lane. What is beyond, as far as
-- vacuum knows of it (the index's reltuples), is shared out evenly over the lanes that were not counted to their end.
WITH RECURSIVE scan AS (
  (SELECT lane, model, created_at FROM jobs WHERE state = 'queued' AND held_until IS NULL ORDER BY lane, rank, id LIMIT 1)
  UNION ALL
  SELECT head.* FROM scan s CROSS JOIN LATERAL (
    SELECT lane, model, created_at FROM jobs
    WHERE state = 'queued' AND held_until IS NULL AND lane > s.lane ORDER BY lane, rank, id LIMIT 1) head
), lanes AS MATERIALIZED (
  SELECT *, greatest(100, :most / count(*) OVER ()) AS cap FROM (SELECT * FROM scan LIMIT :most_lanes) looked_at
), counted AS MATERIALIZED (
  SELECT l.model, l.created_at, n.jobs, n.jobs = l.cap AS open FROM lanes l CROSS JOIN LATERAL (
    SELECT count(*) AS jobs FROM (
      SELECT FROM jobs WHERE state = 'queued' AND held_until IS NULL AND lane = l.lane ORDER BY rank, id LIMIT l.cap) part) n
), beyond AS (
  SELECT greatest(0, (SELECT reltuples FROM pg_class WHERE oid = 'jobs_queued'::regclass) - sum(jobs))
    / greatest(1, count(*) FILTER (WHERE open)) AS jobs FROM counted
), parts AS (
  SELECT c.model, c.jobs + CASE WHEN c.open THEN b.jobs ELSE 0 END AS jobs, c.created_at FROM counted c CROSS JOIN beyond b
  UNION ALL
  SELECT model, count(*), min(created_at) FROM (
    SELECT model, created_at FROM jobs WHERE state = 'queued' AND held_until IS NOT NULL ORDER BY held_until LIMIT :most) held
  GROUP BY model
)
SELECT model, round(sum(jobs))::bigint AS jobs, greatest(0, extract(epoch FROM now() - min(created_at)))::float8 AS age_s
FROM parts GROUP BY model ORDER BY model
