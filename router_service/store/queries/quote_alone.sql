-- One at a time of a tenant counts its open quotes and opens one more; until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended(:tenant_id, 1)) IS NULL AS is_alone
