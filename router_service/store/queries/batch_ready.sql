-- A batch of which every job is terminal and which has not ended; locked, so that one janitor writes its files.
SELECT b.id, b.tenant_id FROM batches b
WHERE b.ended_at IS NULL AND b.failed_at IS NULL AND NOT EXISTS (
  SELECT 1 FROM jobs j WHERE j.batch_id = b.id AND j.state IN ('queued', 'routed', 'running', 'retry_wait', 'dead'))
ORDER BY b.id LIMIT 1 FOR UPDATE OF b SKIP LOCKED
