-- Keep a verdict on a locked job's answer, and bring the counts up to date: by the whole score the first time, then by its change.
-- What was counted fades with a half-life of 30 days, as models change.
WITH job AS MATERIALIZED (
  SELECT r.job_id, r.model_id FROM job_results r WHERE r.job_id = :job_id
), before AS MATERIALIZED (
  SELECT score FROM feedback WHERE job_id = :job_id AND source = :source
), kept AS (
  INSERT INTO feedback (job_id, source, tenant_id, model_id, domain, score, expected)
  SELECT job_id, :source, :tenant_id, model_id, :domain, :score, :expected FROM job
  ON CONFLICT (job_id, source) DO UPDATE SET score = excluded.score, given_at = now()
)
INSERT INTO quality_counts AS q (tenant_id, model_id, domain, score, trials, expected)
SELECT learner, job.model_id, :domain, CAST(:score AS real) - coalesce((SELECT score FROM before), 0),
  CASE WHEN EXISTS (SELECT FROM before) THEN 0 ELSE 1 END,
  CASE WHEN EXISTS (SELECT FROM before) THEN 0 ELSE CAST(:expected AS real) END
FROM job, unnest(CAST(:learners AS text[])) learner
ON CONFLICT (tenant_id, model_id, domain) DO UPDATE SET
  score = greatest(0, q.score * 0.5 ^ (extract(epoch FROM now() - q.changed_at) / 2592000) + excluded.score),
  trials = q.trials * 0.5 ^ (extract(epoch FROM now() - q.changed_at) / 2592000) + excluded.trials,
  expected = q.expected * 0.5 ^ (extract(epoch FROM now() - q.changed_at) / 2592000) + excluded.expected, changed_at = now()
RETURNING model_id
