-- Each job gets its rank (router_service.jobs.ranks), the smallest first, and the chain of fallbacks that it follows.
-- The old code runs beside this: what it accepts is ranked as if it had neither deadline nor priority; its routers work on,
-- without the help of an index, until they are replaced.

ALTER TABLE jobs
  ADD COLUMN rank float8 NOT NULL DEFAULT 0,
  ADD COLUMN fallback text NOT NULL DEFAULT 'general'
    CONSTRAINT jobs_fallback CHECK (fallback IN ('general', 'context_window', 'content_policy'));

-- Only what may be queued again needs one: no finished row is rewritten.
UPDATE jobs SET rank = extract(epoch FROM coalesce(deadline, created_at + interval '1 hour'))::float8 - 900.0 * priority
WHERE state NOT IN ('succeeded', 'cancelled', 'expired');

ALTER TABLE jobs ALTER COLUMN rank SET DEFAULT extract(epoch FROM now())::float8 + 3600;

ALTER TABLE dead_letters
  ADD COLUMN fallback text NOT NULL DEFAULT 'general'
    CONSTRAINT dead_letters_fallback CHECK (fallback IN ('general', 'context_window', 'content_policy'));

ALTER TABLE batches
  ADD COLUMN max_parallel_requests integer
    CONSTRAINT batches_parallel CHECK (max_parallel_requests > 0);

-- What the router may take, lane by lane in the order of rank. A job that is held stands apart, so that however many no model
-- may take, they are in nobody's way.
DROP INDEX jobs_queued;
CREATE INDEX jobs_queued ON jobs (lane, rank, id) WHERE state = 'queued' AND held_until IS NULL;
CREATE INDEX jobs_held ON jobs (held_until) WHERE state = 'queued' AND held_until IS NOT NULL;

-- With it, and with what is live, the counts of an open batch are read from indexes.
CREATE INDEX jobs_batch_wrong ON jobs (batch_id, state)
  WHERE batch_id IS NOT NULL AND state IN ('failed', 'cancelled', 'expired');

-- Calls that nobody waits for any more are rare; after the loss of Redis the latest of them count again.
CREATE INDEX attempts_abandoned ON attempts (ended_at)
  WHERE outcome IN ('lost', 'cancelled', 'returned') OR error_code IN ('timeout', 'deadline_exceeded');
