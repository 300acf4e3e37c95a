-- Does the database answer, and what is its schema?
SELECT version_num AS revision FROM schema_version
