-- Snapshots of the live counters by their hashes.
SELECT hash, counters FROM snapshots WHERE hash = ANY (:hashes) ORDER BY hash
