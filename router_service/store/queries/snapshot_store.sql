-- Keep snapshots of the live counters, each once under its hash. A stamp older than a day is renewed: then no decision that names
-- one is more than a day younger than its stamp says. Nobody waits for another one who does so.
WITH given AS (
  SELECT hash, counters FROM json_to_recordset(CAST(:rows AS json)) AS r (hash text, counters json)
), aged AS (
  SELECT hash FROM snapshots WHERE hash IN (SELECT hash FROM given) AND taken_at < now() - interval '1 day'
  ORDER BY hash FOR UPDATE SKIP LOCKED
), renewed AS (
  UPDATE snapshots SET taken_at = now() WHERE hash IN (SELECT hash FROM aged)
)
INSERT INTO snapshots (hash, counters)
SELECT hash, counters FROM given ORDER BY hash
ON CONFLICT DO NOTHING
RETURNING hash
