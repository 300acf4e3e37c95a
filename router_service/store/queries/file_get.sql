-- One file of a tenant.
SELECT * FROM files WHERE id = :id AND tenant_id = :tenant_id AND (expires_at IS NULL OR expires_at > now())
