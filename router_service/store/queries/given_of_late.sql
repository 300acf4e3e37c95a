-- What each model was given within the last so many seconds: calls begun, and their tokens (estimates where none were told).
SELECT a.model_id, count(*) AS requests,
  coalesce(sum(CASE WHEN a.tokens_in > 0 THEN a.tokens_in ELSE j.tokens_in END), 0)::bigint AS tokens_in,
  coalesce(sum(CASE WHEN a.tokens_out > 0 THEN a.tokens_out ELSE j.tokens_out END), 0)::bigint AS tokens_out
FROM attempts a JOIN jobs j ON j.id = a.job_id
WHERE a.started_at > now() - make_interval(secs => :within_s)
GROUP BY a.model_id
