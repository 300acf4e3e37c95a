-- A batch keeps the plan that it has, or none, unless another one was made meanwhile, and waits for no other unless it has a
-- budget, which nobody else keeps. `note`: what of its goal cannot be kept, and what could. The
-- plan is in use: its stamp is renewed where it is older than a day.
WITH renewed AS (
  UPDATE plans SET made_at = now() WHERE hash = CAST(:before AS text) AND made_at < now() - interval '1 day'
)
UPDATE batches SET plan_note = :note, plan_until = CASE WHEN budget_usd IS NOT NULL THEN plan_until END,
  plan_due_at = now() + make_interval(secs => :again_s)
WHERE id = :id AND plan IS NOT DISTINCT FROM CAST(:before AS text) AND ended_at IS NULL
RETURNING id
