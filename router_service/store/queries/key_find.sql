-- A key that may still be used.
SELECT prefix, tenant_id, digest FROM api_keys WHERE prefix = :prefix AND revoked_at IS NULL
