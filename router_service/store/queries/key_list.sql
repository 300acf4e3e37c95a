-- Every key, oldest first, without its digest.
SELECT prefix, tenant_id, name, created_at, revoked_at FROM api_keys ORDER BY created_at, prefix
