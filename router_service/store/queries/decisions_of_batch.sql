-- A page of the decisions on a batch with their inputs, line by line: the lateral join ends with the page, whatever the planner expects
-- of it. The JSON comes as text, as in decisions_of_tenant.sql.
SELECT d.job_id, d.epoch, j.line, d.decided_at, d.model_id, d.reason, d.policy, d.catalog, d.snapshot,
  d.inputs ->> 'plan' AS plan, d.candidates::text AS candidates, d.inputs::text AS inputs, d.shadow::text AS shadow
FROM batches b JOIN jobs j ON j.batch_id = b.id CROSS JOIN LATERAL (
  SELECT * FROM decisions
  WHERE job_id = j.id AND inputs IS NOT NULL AND decided_at >= :since AND decided_at < :until
    AND (j.line > :after_line OR epoch > :after_epoch)
    AND (CAST(:shadow AS text) IS NULL OR shadow ->> 'policy' = CAST(:shadow AS text))
  OFFSET 0
) d
WHERE b.id = :batch_id AND b.tenant_id = :tenant_id AND j.line >= :after_line
ORDER BY j.line, d.epoch LIMIT :most
