-- The file cannot be quoted: nothing was asked.
DELETE FROM quotes WHERE id = :id AND lines IS NULL AND answer IS NULL RETURNING id
