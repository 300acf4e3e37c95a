-- The calibrations in force.
SELECT policy, predictor, catalog, jobs, curve FROM calibrations ORDER BY policy, predictor
