-- The model that answered a job of the tenant's. The job is locked: two verdicts on it are counted in turn.
SELECT r.model_id FROM jobs j JOIN job_results r ON r.job_id = j.id
WHERE j.id = :job_id AND j.tenant_id = :tenant_id AND j.state = 'succeeded' FOR NO KEY UPDATE OF j
