-- The batch has ended: keep its counts and its files.
WITH counted AS (
  SELECT
    count(*) FILTER (WHERE j.state = 'succeeded') AS succeeded,
    count(*) FILTER (WHERE j.state = 'failed') AS failed,
    count(*) FILTER (WHERE j.state = 'cancelled') AS cancelled,
    count(*) FILTER (WHERE j.state = 'expired') AS expired,
    coalesce(sum(r.tokens_in), 0) AS tokens_in, coalesce(sum(r.tokens_out), 0) AS tokens_out
  FROM jobs j LEFT JOIN job_results r ON r.job_id = j.id WHERE j.batch_id = :id
)
UPDATE batches b SET finalizing_at = coalesce(b.finalizing_at, now()), ended_at = now(),
  succeeded = c.succeeded, failed = c.failed, cancelled = c.cancelled, expired = c.expired,
  tokens_in = c.tokens_in, tokens_out = c.tokens_out,
  output_file_id = :output_file_id, error_file_id = :error_file_id
FROM counted c WHERE b.id = :id AND b.ended_at IS NULL
RETURNING b.id
