-- Back to the first schema; ranks, kinds of fallback and caps of batches are forgotten.
DROP INDEX attempts_abandoned;
DROP INDEX jobs_batch_wrong;
DROP INDEX jobs_held;
DROP INDEX jobs_queued;
CREATE INDEX jobs_queued ON jobs (lane, priority DESC, deadline, id) WHERE state = 'queued';
ALTER TABLE batches DROP COLUMN max_parallel_requests;
ALTER TABLE dead_letters DROP COLUMN fallback;
ALTER TABLE jobs DROP COLUMN fallback, DROP COLUMN rank;
