-- A batch has a plan, unless another one was made meanwhile. The first one's promise is kept beside it. A plan that is made once
-- more has a new stamp.
WITH stored AS (
  INSERT INTO plans (hash, document) VALUES (:hash, CAST(:document AS json))
  ON CONFLICT (hash) DO UPDATE SET made_at = now() WHERE plans.made_at < now() - interval '1 day'
)
UPDATE batches SET plan = :hash, planned_at = now(), plan_note = :note, quoted = coalesce(quoted, CAST(:quoted AS json)),
  plan_due_at = now() + make_interval(secs => :again_s)
WHERE id = :id AND plan IS NOT DISTINCT FROM CAST(:before AS text) AND ended_at IS NULL
RETURNING id
