-- Delete quotes that are older than so many seconds, and sooner those that nobody could answer: they hold requests.
DELETE FROM quotes WHERE created_at < now() - make_interval(secs => CASE WHEN answer IS NULL THEN :tried_s ELSE :kept_s END)
RETURNING id
