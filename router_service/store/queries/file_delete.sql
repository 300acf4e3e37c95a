-- Delete a file and its chunks.
DELETE FROM files WHERE id = :id AND tenant_id = :tenant_id RETURNING id
