-- Every decision, call and dead letter of a job, each as one JSON array in order.
SELECT
  (SELECT coalesce(json_agg(json_build_object(
     'epoch', d.epoch, 'decided_at', extract(epoch FROM d.decided_at)::float8, 'model', d.model_id, 'reason', d.reason,
     'policy', d.policy, 'catalog', d.catalog, 'snapshot', d.snapshot, 'inputs', d.inputs, 'candidates', d.candidates) ORDER BY d.epoch), '[]')
   FROM decisions d WHERE d.job_id = :id) AS decisions,
  (SELECT coalesce(json_agg(json_build_object(
     'attempt', a.attempt, 'model', a.model_id, 'started_at', extract(epoch FROM a.started_at)::float8,
     'ended_at', extract(epoch FROM a.ended_at)::float8, 'outcome', a.outcome, 'status_code', a.status_code,
     'error_code', a.error_code, 'error_message', a.error_message, 'input_tokens', a.tokens_in,
     'output_tokens', a.tokens_out, 'cost_usd', a.cost_usd::float8) ORDER BY a.attempt), '[]')
   FROM attempts a WHERE a.job_id = :id) AS attempts,
  (SELECT coalesce(json_agg(json_build_object(
     'id', 'dl_' || replace(l.id::text, '-', ''), 'model', l.model_id, 'attempt', l.attempt,
     'error_code', l.error_code, 'error_message', l.error_message,
     'created_at', extract(epoch FROM l.created_at)::float8, 'state', l.state) ORDER BY l.attempt), '[]')
   FROM dead_letters l WHERE l.job_id = :id) AS dead_letters
