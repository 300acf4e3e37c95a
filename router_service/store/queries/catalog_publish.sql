-- A new version of the catalog; the newest rules.
INSERT INTO catalogs (hash, document) VALUES (:hash, CAST(:document AS jsonb)) RETURNING version
