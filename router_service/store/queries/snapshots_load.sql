-- Snapshots of the live counters by their hashes; as text, which is read elsewhere.
SELECT hash, counters::text AS counters FROM snapshots WHERE hash = ANY (:hashes) ORDER BY hash
