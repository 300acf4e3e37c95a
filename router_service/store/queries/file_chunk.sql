-- One chunk of a file.
SELECT data FROM file_chunks WHERE file_id = :file_id AND seq = :seq
