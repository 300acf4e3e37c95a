-- The candidates of the latest decisions that chose a model, and what they were taken under.
SELECT policy, catalog, coalesce(inputs -> 'signals' -> 'versions' ->> 'predictor', '') AS predictor, candidates FROM decisions
WHERE inputs IS NOT NULL AND model_id IS NOT NULL
ORDER BY decided_at DESC LIMIT :most
