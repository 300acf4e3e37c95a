-- Forget what was read of jobs by other extractors, or other versions of them, than these.
WITH outdated AS (
  SELECT job_id FROM job_signals
  WHERE job_id = ANY (:ids) AND CAST(signals -> 'versions' AS jsonb) IS DISTINCT FROM CAST(:versions AS jsonb)
  ORDER BY job_id FOR UPDATE
)
DELETE FROM job_signals s USING outdated o WHERE s.job_id = o.job_id
RETURNING s.job_id
