-- Take a question without an answer that nobody has taken of late (who took it before has died): of the tenant that was served
-- the longest ago, the oldest. The lines as text: they are many, and read in a thread.
UPDATE quotes SET taken_at = now() WHERE id = (
  SELECT id FROM quotes q
  WHERE answer IS NULL AND lines IS NOT NULL AND (taken_at IS NULL OR taken_at < now() - make_interval(secs => :stale_s))
  ORDER BY (SELECT max(taken_at) FROM quotes o WHERE o.tenant_id = q.tenant_id) NULLS FIRST, created_at, id
  LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, tenant_id, asked, CAST(lines AS text) AS lines
