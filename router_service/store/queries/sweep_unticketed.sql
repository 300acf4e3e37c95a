-- After the loss of the broker no ticket is left: queue every routed job again. ROUTED -> QUEUED, epoch + 1.
-- It waits for claims under way: what they took is then running, and is counted as such.
WITH ticketless AS (
  SELECT id FROM jobs WHERE state = 'routed' ORDER BY id FOR UPDATE
)
UPDATE jobs j SET state = 'queued', epoch = j.epoch + 1, routed_at = NULL FROM ticketless t WHERE j.id = t.id
RETURNING j.id
