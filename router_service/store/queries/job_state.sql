-- Only the state, for a long poll.
SELECT state FROM jobs WHERE id = :id AND tenant_id = :tenant_id
