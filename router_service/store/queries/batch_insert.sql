-- A batch, in progress.
INSERT INTO batches (
  id, tenant_id, endpoint, input_file_id, completion_window, max_parallel_requests, metadata, expires_at, in_progress_at,
  budget_usd, finish_by)
VALUES (:id, :tenant_id, :endpoint, :input_file_id, :completion_window, :max_parallel_requests,
  CAST(:metadata AS jsonb), now() + make_interval(secs => :window_s), now(),
  :budget_usd, now() + make_interval(secs => least(CAST(:finish_within_s AS float8), :window_s)))
RETURNING expires_at
