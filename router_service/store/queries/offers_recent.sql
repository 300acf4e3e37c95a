-- The candidates of those of the latest decisions that left the choice to the policy and found a model, and what they were taken under.
SELECT model_id, policy, catalog, coalesce(inputs -> 'signals' -> 'versions' ->> 'predictor', '') AS predictor, candidates
FROM (
  SELECT * FROM decisions WHERE inputs IS NOT NULL ORDER BY decided_at DESC LIMIT :most
) latest
WHERE model_id IS NOT NULL AND inputs -> 'spec' ->> 'model' = 'auto' AND inputs -> 'preferences' ->> 'sort' IS NULL
ORDER BY decided_at DESC
