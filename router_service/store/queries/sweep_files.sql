-- Delete files, with their content, whose time is over.
DELETE FROM files WHERE id IN (
  SELECT id FROM files WHERE expires_at <= now() ORDER BY expires_at LIMIT :most FOR UPDATE SKIP LOCKED)
RETURNING id
