-- Other models, other limits: every batch with a plan, or waiting for one, is due to be planned if it
-- was not looked at under this very catalog.
UPDATE batches SET plan_due_at = now() WHERE id IN (
  SELECT id FROM batches WHERE plan_due_at IS NOT NULL AND plan_catalog IS DISTINCT FROM :catalog AND ended_at IS NULL AND failed_at IS NULL
  ORDER BY id FOR UPDATE SKIP LOCKED)
RETURNING id
