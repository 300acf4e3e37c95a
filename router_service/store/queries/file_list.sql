-- A page of a tenant's files, newest first or oldest first.
SELECT * FROM files
WHERE tenant_id = :tenant_id AND (expires_at IS NULL OR expires_at > now())
  AND (CAST(:purpose AS text) IS NULL OR purpose = CAST(:purpose AS text))
  AND (CAST(:after AS uuid) IS NULL OR CASE WHEN :ascending THEN id > CAST(:after AS uuid) ELSE id < CAST(:after AS uuid) END)
ORDER BY CASE WHEN :ascending THEN id END, CASE WHEN NOT :ascending THEN id END DESC LIMIT :most
