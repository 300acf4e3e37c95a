-- Cancel what is not running in batches that are being cancelled, and say why; running calls end by themselves.
WITH open AS (
  SELECT j.id, j.state, j.epoch, j.model_id, coalesce(b.errors -> 0 ->> 'message', 'the batch was cancelled') AS why
  FROM batches b JOIN jobs j ON j.batch_id = b.id
  WHERE b.ended_at IS NULL AND b.failed_at IS NULL AND b.cancelling_at IS NOT NULL
    AND (CAST(:batch_id AS uuid) IS NULL OR b.id = CAST(:batch_id AS uuid))
    AND j.state IN ('queued', 'routed', 'retry_wait', 'dead')
  ORDER BY j.id FOR UPDATE OF j
), moved AS (
  UPDATE jobs j SET state = 'cancelled', finished_at = now(), available_at = NULL, error_code = 'batch_cancelled',
    error_message = o.why
  FROM open o WHERE j.id = o.id
), settled AS (
  UPDATE dead_letters d SET state = 'discarded', settled_at = now()
  FROM open o WHERE d.job_id = o.id AND d.state = 'open'
)
SELECT id, state, epoch, model_id FROM open
