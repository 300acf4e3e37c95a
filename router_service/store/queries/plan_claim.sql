-- Take a batch that is due to be planned, and put its next planning off: should we die, somebody else does it then. First
-- those that were never looked at: their jobs wait, and not for ever, while the others go on by the plans that they have.
-- `catalog`: under which.
UPDATE batches SET plan_due_at = now() + make_interval(secs => :again_s), plan_catalog = :catalog
WHERE id = (
  SELECT id FROM batches
  WHERE plan_due_at <= now() AND ended_at IS NULL AND failed_at IS NULL AND cancelling_at IS NULL
  ORDER BY plan IS NOT NULL OR plan_note IS NOT NULL, plan_due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, tenant_id, plan, max_parallel_requests, budget_usd, finish_by IS NOT NULL AS is_hurried,
  extract(epoch FROM coalesce(finish_by, expires_at) - now())::float8 AS left_s,
  extract(epoch FROM now() - created_at)::float8 AS elapsed_s
