-- Keep a verdict on a locked job's answer, and bring the counts up to date: by the whole score the first time, then by its change, in
-- the cells where the first one was counted, and as far as that has not faded. Counts fade with a half-life of 30 days, as
-- models change.
WITH before AS MATERIALIZED (
  SELECT * FROM feedback WHERE job_id = :job_id AND source = :source
), kept AS (
  INSERT INTO feedback (job_id, source, tenant_id, model_id, domain, score, expected, learners)
  SELECT job_id, :source, :tenant_id, model_id, :domain, :score, :expected, CAST(:learners AS text[])
  FROM job_results WHERE job_id = :job_id
  ON CONFLICT (job_id, source) DO UPDATE SET score = excluded.score
  RETURNING model_id, domain, learners
), change AS (
  SELECT (CAST(:score AS real) - coalesce(b.score, 0)) * coalesce(0.5 ^ (extract(epoch FROM now() - b.given_at) / 2592000), 1) AS score,
    CASE WHEN b.job_id IS NULL THEN 1 ELSE 0 END AS trials
  FROM (SELECT 1) one LEFT JOIN before b ON true
)
INSERT INTO quality_counts AS q (tenant_id, model_id, domain, score, trials, expected, levels)
SELECT learner, k.model_id, k.domain, c.score, c.trials, c.trials * CAST(:expected AS real), c.trials * CAST(:level AS real)
FROM kept k CROSS JOIN change c CROSS JOIN unnest(k.learners) learner
ON CONFLICT (tenant_id, model_id, domain) DO UPDATE SET
  score = greatest(0, q.score * 0.5 ^ (extract(epoch FROM now() - q.changed_at) / 2592000) + excluded.score),
  trials = q.trials * 0.5 ^ (extract(epoch FROM now() - q.changed_at) / 2592000) + excluded.trials,
  expected = q.expected * 0.5 ^ (extract(epoch FROM now() - q.changed_at) / 2592000) + excluded.expected,
  levels = q.levels * 0.5 ^ (extract(epoch FROM now() - q.changed_at) / 2592000) + excluded.levels, changed_at = now()
RETURNING model_id
