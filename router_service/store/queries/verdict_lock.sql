-- The model that answered a job of the tenant's, and what was read of it. The job is locked: two verdicts on it are counted in turn.
SELECT r.model_id, s.signals FROM jobs j JOIN job_results r ON r.job_id = j.id LEFT JOIN job_signals s ON s.job_id = j.id
WHERE j.id = :job_id AND j.tenant_id = :tenant_id AND j.state = 'succeeded' FOR NO KEY UPDATE OF j
