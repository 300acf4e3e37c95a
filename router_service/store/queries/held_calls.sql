-- Every call that a provider may be at, from which the live counters are rebuilt: those under way, and for one lease those that nobody
-- waits for any more, since their end there was not seen. `left_s`: how long its slot may be held.
SELECT j.id, j.epoch, j.model_id, j.tenant_id, j.batch_id, b.max_parallel_requests AS batch_slots,
  (greatest(0, extract(epoch FROM j.lease_until - now())) + :lease_s)::float8 AS left_s
FROM jobs j LEFT JOIN batches b ON b.id = j.batch_id WHERE j.state = 'running'
UNION ALL
SELECT a.job_id, a.epoch, a.model_id, j.tenant_id, j.batch_id, b.max_parallel_requests,
  (:lease_s - extract(epoch FROM now() - a.ended_at))::float8
FROM attempts a JOIN jobs j ON j.id = a.job_id LEFT JOIN batches b ON b.id = j.batch_id
WHERE a.ended_at > now() - make_interval(secs => :lease_s)
  AND (a.outcome IN ('lost', 'cancelled', 'returned') OR a.error_code IN ('timeout', 'deadline_exceeded'))
ORDER BY 1, 2
