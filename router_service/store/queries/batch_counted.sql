-- How many lines the batch turned out to have; where it is to be planned, it waits for its plan for so long.
UPDATE batches SET total = :total,
  plan_due_at = CASE WHEN CAST(:plan_wait_s AS float8) IS NOT NULL THEN now() END,
  plan_until = now() + make_interval(secs => CAST(:plan_wait_s AS float8))
WHERE id = :id RETURNING id
