-- The answer takes the place of the lines: what they said is forgotten.
UPDATE quotes SET answer = CAST(:answer AS json), lines = NULL WHERE id = :id AND answer IS NULL RETURNING id
