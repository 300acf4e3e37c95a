-- Catalogs that were in force at some time, each once, by what they say; as text, which is read elsewhere.
SELECT DISTINCT ON (hash) hash, document::text AS document FROM catalogs WHERE hash = ANY (:hashes) ORDER BY hash, version
