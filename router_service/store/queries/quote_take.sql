-- Take the oldest question without an answer that nobody has taken of late: who took it before has died.
UPDATE quotes SET taken_at = now() WHERE id = (
  SELECT id FROM quotes WHERE answer IS NULL AND (taken_at IS NULL OR taken_at < now() - make_interval(secs => :stale_s))
  ORDER BY taken_at NULLS FIRST, created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, tenant_id, asked, lines
