-- Let held jobs go before their time: what is on offer has changed.
UPDATE jobs SET held_until = NULL WHERE id IN (
  SELECT id FROM jobs WHERE state = 'queued' AND held_until IS NOT NULL ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED)
RETURNING id
