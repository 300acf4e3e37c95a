-- A page of a tenant's batches, newest first, with their counts (see batch_get).
SELECT b.*, c.*, greatest(0, b.total - c.n_live - c.n_failed - c.n_cancelled - c.n_expired) AS n_succeeded
FROM batches b CROSS JOIN LATERAL (
  SELECT (SELECT count(*) FROM jobs j WHERE b.ended_at IS NULL AND j.batch_id = b.id
      AND j.state IN ('queued', 'routed', 'running', 'retry_wait', 'dead')) AS n_live,
    count(*) FILTER (WHERE state = 'failed') AS n_failed,
    count(*) FILTER (WHERE state = 'cancelled') AS n_cancelled,
    count(*) FILTER (WHERE state = 'expired') AS n_expired
  FROM jobs j WHERE b.ended_at IS NULL AND j.batch_id = b.id AND j.state IN ('failed', 'cancelled', 'expired')
) c
WHERE b.tenant_id = :tenant_id AND (CAST(:before AS uuid) IS NULL OR b.id < CAST(:before AS uuid))
ORDER BY b.id DESC LIMIT :most
