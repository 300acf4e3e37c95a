-- After the loss of the broker no ticket is left: queue every routed job again. ROUTED -> QUEUED, epoch + 1.
WITH ticketless AS (
  SELECT id FROM jobs WHERE state = 'routed' ORDER BY id FOR UPDATE SKIP LOCKED
)
UPDATE jobs j SET state = 'queued', epoch = j.epoch + 1, routed_at = NULL FROM ticketless t WHERE j.id = t.id
RETURNING j.id
