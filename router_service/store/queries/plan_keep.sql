-- A batch keeps the plan that it has, or none, unless another one was made meanwhile, and waits for no other unless it has a
-- budget, which nobody else keeps. `note`: what of its goal cannot be kept, and what could.
UPDATE batches SET plan_note = :note, plan_until = CASE WHEN budget_usd IS NOT NULL THEN plan_until END,
  plan_due_at = now() + make_interval(secs => :again_s)
WHERE id = :id AND plan IS NOT DISTINCT FROM CAST(:before AS text) AND ended_at IS NULL
RETURNING id
