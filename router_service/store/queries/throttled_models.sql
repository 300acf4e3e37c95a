-- Models that asked us to wait, and how long still: the jobs that were told so wait for it.
SELECT a.model_id, max(extract(epoch FROM j.available_at - now()))::float8 AS left_s
FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt
WHERE j.state = 'retry_wait' AND a.outcome = 'throttled' AND j.available_at > now()
GROUP BY 1 ORDER BY 1
