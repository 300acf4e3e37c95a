-- Discard parked dead letters: their jobs stay failed.
UPDATE dead_letters SET state = 'discarded', settled_at = now()
WHERE tenant_id = :tenant_id AND state = 'parked' AND id = ANY (CAST(:ids AS uuid[]))
RETURNING id
