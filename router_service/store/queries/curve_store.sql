-- Keep the newest calibration of a policy on what a predictor expects.
INSERT INTO calibrations (policy, predictor, catalog, jobs, curve) VALUES (:policy, :predictor, :catalog, :jobs, CAST(:curve AS json))
ON CONFLICT (policy, predictor)
DO UPDATE SET catalog = excluded.catalog, jobs = excluded.jobs, curve = excluded.curve, made_at = now()
RETURNING policy
