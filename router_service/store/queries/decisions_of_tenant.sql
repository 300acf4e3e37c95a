-- A page of a tenant's decisions with their inputs, the latest first. The JSON comes as text: reading it is not the database driver's
-- work, which is done beside everything else.
SELECT d.job_id, d.epoch, NULL::integer AS line, d.decided_at, d.model_id, d.reason, d.policy, d.catalog, d.snapshot,
  d.inputs ->> 'plan' AS plan, d.candidates::text AS candidates, d.inputs::text AS inputs, d.shadow::text AS shadow
FROM decisions d
WHERE d.tenant_id = :tenant_id AND d.inputs IS NOT NULL AND d.decided_at >= :since AND d.decided_at < :until
  AND (d.decided_at, d.job_id, d.epoch) < (:after_decided_at, CAST(:after_job_id AS uuid), CAST(:after_epoch AS integer))
  AND (CAST(:shadow AS text) IS NULL OR d.shadow ->> 'policy' = CAST(:shadow AS text))
ORDER BY d.decided_at DESC, d.job_id DESC, d.epoch DESC LIMIT :most
