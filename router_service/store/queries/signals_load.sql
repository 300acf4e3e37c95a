-- What was read of jobs, and how large the requests are of those that nobody has read yet; that looks at no request.
SELECT i.job_id, s.signals, CASE WHEN s.job_id IS NULL THEN octet_length(i.body) END AS body_bytes
FROM job_inputs i LEFT JOIN job_signals s ON s.job_id = i.job_id
WHERE i.job_id = ANY (:ids) ORDER BY i.job_id
