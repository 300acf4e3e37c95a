-- One batch of a tenant with its counts: kept ones where it has ended, else counted now.
SELECT b.*, n.* FROM batches b CROSS JOIN LATERAL (
  SELECT
    count(*) FILTER (WHERE state = 'succeeded') AS n_succeeded,
    count(*) FILTER (WHERE state = 'failed') AS n_failed,
    count(*) FILTER (WHERE state = 'cancelled') AS n_cancelled,
    count(*) FILTER (WHERE state = 'expired') AS n_expired
  FROM jobs j WHERE b.ended_at IS NULL AND j.batch_id = b.id
) n
WHERE b.id = :id AND b.tenant_id = :tenant_id
