-- Plans for whole batches by their hashes.
SELECT hash, document FROM plans WHERE hash = ANY (:hashes) ORDER BY hash
