-- What each model was given of each tenant within the last so many seconds, by age: calls begun and the tokens that the provider told; of
-- those of which it told none (`untold`), the estimates that were accepted with the job.
-- A call under way counts as begun now, and one that nobody waits for any more as begun when it was given up: a claim may wait
-- for its call longer than a window, and when that was made stands in the row only after its end.
WITH begun AS (
  SELECT a.job_id, a.model_id, a.tokens_in, a.tokens_out, a.started_at AS at FROM attempts a
  WHERE a.started_at > now() - make_interval(secs => :within_s) AND a.outcome NOT IN ('uncalled', 'lost', 'cancelled')
  UNION ALL
  SELECT a.job_id, a.model_id, a.tokens_in, a.tokens_out, a.ended_at FROM attempts a
  WHERE a.ended_at > now() - make_interval(secs => :within_s) AND a.outcome IN ('lost', 'cancelled')
  UNION ALL
  SELECT j.id, a.model_id, NULL, NULL, now() FROM jobs j JOIN attempts a ON a.job_id = j.id AND a.attempt = j.attempt
  WHERE j.state = 'running'
), calls AS (
  SELECT b.model_id, j.tenant_id, b.tokens_in > 0 AS is_told, b.tokens_in, coalesce(b.tokens_out, 0) AS tokens_out,
    j.tokens_in AS estimated_in, j.tokens_out AS asked_out,
    greatest(0, floor(extract(epoch FROM now() - b.at) / :grain_s) * :grain_s)::float8 AS ago_s
  FROM begun b JOIN jobs j ON j.id = b.job_id
)
SELECT model_id, tenant_id, ago_s, count(*) AS requests,
  count(*) FILTER (WHERE is_told) AS told,
  coalesce(sum(tokens_in) FILTER (WHERE is_told), 0)::bigint AS tokens_in,
  coalesce(sum(tokens_out) FILTER (WHERE is_told), 0)::bigint AS tokens_out,
  coalesce(sum(estimated_in) FILTER (WHERE is_told), 0)::bigint AS estimated_in,
  coalesce(sum(estimated_in) FILTER (WHERE is_told IS NOT TRUE), 0)::bigint AS untold_in,
  coalesce(sum(asked_out) FILTER (WHERE is_told IS NOT TRUE), 0)::bigint AS untold_out,
  count(*) FILTER (WHERE is_told IS NOT TRUE AND asked_out IS NULL) AS unlimited
FROM calls GROUP BY 1, 2, 3
