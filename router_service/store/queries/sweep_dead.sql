-- Dead jobs that no dead-letter worker has looked at for a while: their ticket was lost.
SELECT j.id, j.epoch, j.model_id FROM jobs j JOIN dead_letters d ON d.job_id = j.id AND d.attempt = j.attempt
WHERE j.state = 'dead' AND d.created_at < now() - make_interval(secs => :stale_s)
ORDER BY j.id LIMIT :most
