-- How many lines the batch turned out to have.
UPDATE batches SET total = :total WHERE id = :id RETURNING id
