-- Somebody wants to be told what a file would come to, and reads it: unless the tenant has so many questions without an answer.
INSERT INTO quotes (id, tenant_id, asked)
SELECT :id, :tenant_id, '{}'
WHERE (SELECT count(*) FROM quotes WHERE tenant_id = :tenant_id AND answer IS NULL) < :most
RETURNING id
