-- A page of the decisions on a job with their inputs. The JSON comes as text, as in decisions_of_tenant.sql.
SELECT d.job_id, d.epoch, j.line, d.decided_at, d.model_id, d.reason, d.policy, d.catalog, d.snapshot,
  d.inputs ->> 'plan' AS plan, d.candidates::text AS candidates, d.inputs::text AS inputs, d.shadow::text AS shadow
FROM jobs j JOIN decisions d ON d.job_id = j.id
WHERE j.tenant_id = :tenant_id AND j.id = :job_id AND d.inputs IS NOT NULL
  AND (CAST(:batch_id AS uuid) IS NULL OR j.batch_id = CAST(:batch_id AS uuid))
  AND d.decided_at >= :since AND d.decided_at < :until AND d.epoch > :after_epoch
  AND (CAST(:shadow AS text) IS NULL OR d.shadow ->> 'policy' = CAST(:shadow AS text))
ORDER BY d.epoch LIMIT :most
