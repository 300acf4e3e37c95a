-- A file whose chunks are written in the same transaction.
INSERT INTO files (id, tenant_id, purpose, filename, bytes, expires_at)
VALUES (:id, :tenant_id, :purpose, :filename, :bytes, now() + make_interval(secs => CAST(:expires_after_s AS float8)))
RETURNING *
