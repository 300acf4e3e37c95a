-- Begin to cancel a batch that has not ended.
UPDATE batches SET cancelling_at = coalesce(cancelling_at, now())
WHERE id = :id AND tenant_id = :tenant_id AND ended_at IS NULL AND failed_at IS NULL
RETURNING id
