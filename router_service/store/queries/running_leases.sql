-- Every call in flight, from which the live counters are rebuilt.
SELECT j.id, j.epoch, j.model_id, j.tenant_id, j.batch_id, b.max_parallel_requests AS batch_slots,
  greatest(0, extract(epoch FROM j.lease_until - now()))::float8 AS left_s
FROM jobs j LEFT JOIN batches b ON b.id = j.batch_id WHERE j.state = 'running' ORDER BY j.id
