-- A page of a tenant's batches, newest first.
SELECT b.*, n.* FROM batches b CROSS JOIN LATERAL (
  SELECT
    count(*) FILTER (WHERE state = 'succeeded') AS n_succeeded,
    count(*) FILTER (WHERE state = 'failed') AS n_failed,
    count(*) FILTER (WHERE state = 'cancelled') AS n_cancelled,
    count(*) FILTER (WHERE state = 'expired') AS n_expired
  FROM jobs j WHERE b.ended_at IS NULL AND j.batch_id = b.id
) n
WHERE b.tenant_id = :tenant_id AND (CAST(:before AS uuid) IS NULL OR b.id < CAST(:before AS uuid))
ORDER BY b.id DESC LIMIT :most
