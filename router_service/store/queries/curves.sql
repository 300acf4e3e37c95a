-- The calibrations in force.
SELECT policy, jobs, curve FROM calibrations ORDER BY policy
