-- Jobs that no model on offer may take, those first that are looked at again next, and how many there are, counted up to a number.
SELECT id, tenant_id, epoch, model, tokens_in, tokens_out, features, residency, quality, preferences, excluded, fallback,
  (SELECT count(*) FROM (
    SELECT FROM jobs WHERE state = 'queued' AND held_until IS NOT NULL ORDER BY held_until LIMIT :most_counted) part) AS held
FROM jobs WHERE state = 'queued' AND held_until IS NOT NULL ORDER BY held_until, id LIMIT :most
