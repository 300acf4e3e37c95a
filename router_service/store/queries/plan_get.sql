-- A tenant's batch with its plan in force, the promise of its first one, and what came of it so far (each call counts).
SELECT b.id, b.plan, b.planned_at, b.quoted, b.plan_note, b.plan IS NULL AND b.plan_until > now() AS is_awaited,
  b.ended_at IS NOT NULL AS has_ended,
  b.budget_usd, b.finish_by, b.created_at, p.document, a.*,
  (SELECT coalesce(sum(t.cost_usd), 0)::float8 FROM jobs j JOIN attempts t ON t.job_id = j.id WHERE j.batch_id = b.id) AS cost_usd
FROM batches b LEFT JOIN plans p ON p.hash = b.plan CROSS JOIN LATERAL (
  SELECT coalesce(sum(jobs) FILTER (WHERE state = 'succeeded'), 0)::bigint AS done,
    extract(epoch FROM max(finished_at) - b.created_at)::float8 AS finish_s,
    coalesce(json_object_agg(model_id, jobs) FILTER (WHERE state = 'succeeded'), '{}') AS models
  FROM (
    SELECT j.state, j.model_id, count(*) AS jobs, max(j.finished_at) AS finished_at
    FROM jobs j WHERE j.batch_id = b.id GROUP BY 1, 2) by_model
) a
WHERE b.id = :id AND b.tenant_id = :tenant_id
