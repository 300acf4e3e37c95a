-- What is asked. `lines`: a sample of the file, kept until the answer is there; from now on a planner may take it.
UPDATE quotes SET asked = CAST(:asked AS json), lines = CAST(:lines AS json)
WHERE id = :id AND lines IS NULL AND answer IS NULL
RETURNING id
