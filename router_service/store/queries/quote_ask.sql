-- Somebody wants to be told what a file would come to. `lines`: a sample of it, kept until the answer is there.
INSERT INTO quotes (id, tenant_id, asked, lines) VALUES (:id, :tenant_id, CAST(:asked AS json), CAST(:lines AS json))
RETURNING id
