-- The candidates of the latest decisions that chose a model.
SELECT policy, candidates FROM decisions
WHERE inputs IS NOT NULL AND model_id IS NOT NULL
ORDER BY decided_at DESC LIMIT :most
