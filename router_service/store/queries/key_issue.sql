-- Store a key's digest, and its tenant where it is new.
WITH tenant AS (
  INSERT INTO tenants (id) VALUES (:tenant_id) ON CONFLICT (id) DO NOTHING
)
INSERT INTO api_keys (prefix, tenant_id, name, digest) VALUES (:prefix, :tenant_id, :name, :digest)
RETURNING prefix
