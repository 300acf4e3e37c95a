-- Catalogs that were in force at some time, each once, by what they say.
SELECT DISTINCT ON (hash) hash, document FROM catalogs WHERE hash = ANY (:hashes) ORDER BY hash, version
