-- Keep snapshots of the live counters, each once under its hash.
INSERT INTO snapshots (hash, counters)
SELECT hash, counters FROM json_to_recordset(CAST(:rows AS json)) AS r (hash text, counters json) ORDER BY hash
ON CONFLICT DO NOTHING
RETURNING hash
