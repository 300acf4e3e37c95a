-- The file is not usable: the batch has failed before anything was dispatched.
UPDATE batches SET failed_at = now(), in_progress_at = NULL, errors = CAST(:errors AS jsonb), total = 0 WHERE id = :id
RETURNING id
