-- A batch keeps the plan that it has, or none, and waits for no other. `note`: what of its goal cannot be kept, and what could.
UPDATE batches SET plan_note = :note, plan_until = NULL, plan_due_at = now() + make_interval(secs => :again_s)
WHERE id = :id AND ended_at IS NULL
RETURNING id
