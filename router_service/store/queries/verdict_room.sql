-- Whether a verdict is of one source too many on its job, and of one domain too many on its model; what is there already has its place.
SELECT
  (SELECT count(*) >= :most_sources AND NOT coalesce(bool_or(source = :source), false)
   FROM feedback WHERE job_id = :job_id) AS has_sources,
  (SELECT count(*) >= :most_domains AND NOT coalesce(bool_or(domain = :domain), false)
   FROM quality_counts WHERE tenant_id = :tenant_id AND model_id = :model_id AND domain <> '') AS has_domains
