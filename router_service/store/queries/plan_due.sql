-- Other models, other limits: every batch with a plan, or waiting for one, is due to be planned.
UPDATE batches SET plan_due_at = now() WHERE id IN (
  SELECT id FROM batches WHERE plan_due_at IS NOT NULL AND ended_at IS NULL AND failed_at IS NULL
  ORDER BY id FOR UPDATE SKIP LOCKED)
RETURNING id
