-- The catalog in force, where it is newer than the one at hand.
SELECT version, hash, document FROM catalogs WHERE version > :known ORDER BY version DESC LIMIT 1
