-- What was read of jobs, and the requests of those that nobody has read yet.
SELECT i.job_id, s.signals, CASE WHEN s.job_id IS NULL THEN i.body END AS body
FROM job_inputs i LEFT JOIN job_signals s ON s.job_id = i.job_id
WHERE i.job_id = ANY (:ids) ORDER BY i.job_id
