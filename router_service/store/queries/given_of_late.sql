-- What each model was given of each tenant within the last so many seconds, by age: calls begun, and their tokens (estimates where none
-- were told). A call under way counts as begun now: when it will have been made is not known before its end.
SELECT model_id, tenant_id, ago_s, count(*) AS requests, sum(tokens_in)::bigint AS tokens_in, sum(tokens_out)::bigint AS tokens_out
FROM (
  SELECT a.model_id, j.tenant_id, coalesce(nullif(a.tokens_in, 0), j.tokens_in) AS tokens_in,
    coalesce(nullif(a.tokens_out, 0), j.tokens_out, 0) AS tokens_out,
    CASE WHEN a.ended_at IS NULL THEN 0
      ELSE greatest(0, floor(extract(epoch FROM now() - a.started_at) / :grain_s) * :grain_s) END::float8 AS ago_s
  FROM attempts a JOIN jobs j ON j.id = a.job_id
  WHERE a.started_at > now() - make_interval(secs => :within_s) AND a.outcome IS DISTINCT FROM 'uncalled'
) AS calls
GROUP BY 1, 2, 3
