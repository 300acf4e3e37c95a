-- The jobs of a batch that may still be dealt out, or every so many of them by chance (a hash of their ids).
SELECT id, tenant_id, epoch, model, tokens_in, tokens_out, features, residency, quality, preferences, excluded, fallback,
  CASE WHEN tries > 0 THEN model_id END AS tried
FROM jobs
WHERE batch_id = :id AND state IN ('queued', 'retry_wait') AND mod(uuid_hash(id), CAST(:every AS integer)) = 0
ORDER BY id
