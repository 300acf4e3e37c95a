-- One job of a tenant, with its result and the plan for its batch.
SELECT j.*, b.plan, r.attempt AS result_attempt, r.model_id AS result_model, r.status_code, r.body,
  r.tokens_in AS result_tokens_in, r.tokens_out AS result_tokens_out, r.cost_usd
FROM jobs j LEFT JOIN job_results r ON r.job_id = j.id LEFT JOIN batches b ON b.id = j.batch_id
WHERE j.id = :id AND j.tenant_id = :tenant_id
