-- A tenant's quote: what was asked, and the answer once it is there.
SELECT id, asked, answer, created_at FROM quotes WHERE id = :id AND tenant_id = :tenant_id
