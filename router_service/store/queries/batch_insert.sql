-- A batch, in progress.
INSERT INTO batches (
  id, tenant_id, endpoint, input_file_id, completion_window, max_parallel_requests, metadata, expires_at, in_progress_at)
VALUES (:id, :tenant_id, :endpoint, :input_file_id, :completion_window, :max_parallel_requests,
  CAST(:metadata AS jsonb), now() + make_interval(secs => :window_s), now())
RETURNING expires_at
