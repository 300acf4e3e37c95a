-- Keep the newest calibration of a policy.
INSERT INTO calibrations (policy, catalog, jobs, curve) VALUES (:policy, :catalog, :jobs, CAST(:curve AS json))
ON CONFLICT (policy) DO UPDATE SET catalog = excluded.catalog, jobs = excluded.jobs, curve = excluded.curve, made_at = now()
RETURNING policy
