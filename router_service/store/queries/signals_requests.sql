-- The requests of jobs.
SELECT job_id, body FROM job_inputs WHERE job_id = ANY (:ids) ORDER BY job_id
