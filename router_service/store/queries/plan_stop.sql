-- Begin to cancel a batch whose budget does not suffice, and say so.
UPDATE batches SET cancelling_at = now(), plan_note = :note, errors = CAST(:errors AS jsonb), plan_due_at = NULL
WHERE id = :id AND ended_at IS NULL AND failed_at IS NULL AND cancelling_at IS NULL
RETURNING id
