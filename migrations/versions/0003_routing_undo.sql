-- Back to the order of work; wishes, signals, inputs of decisions and what was learned are forgotten.
-- Not while jobs wait that say where they may go: an old router would send them anywhere.
DO $$ BEGIN
  IF EXISTS (SELECT FROM jobs WHERE preferences IS NOT NULL AND state IN ('queued', 'routed', 'running', 'retry_wait', 'dead')) THEN
    RAISE EXCEPTION 'jobs with wishes are open: let them end, or cancel them, before going back';
  END IF;
END $$;
DROP TABLE quality_counts;
DROP TABLE feedback;
DROP TABLE calibrations;
DROP TABLE quotes;
DROP INDEX batches_plan_due;
ALTER TABLE batches DROP COLUMN finish_by, DROP COLUMN budget_usd, DROP COLUMN plan_catalog, DROP COLUMN plan_due_at, DROP COLUMN plan_until,
  DROP COLUMN plan_note, DROP COLUMN quoted, DROP COLUMN planned_at, DROP COLUMN plan;
DROP TABLE plans;
DROP INDEX decisions_listed;
DROP INDEX decisions_recent;
ALTER TABLE decisions DROP COLUMN shadow, DROP COLUMN inputs, DROP COLUMN snapshot, DROP COLUMN tenant_id;
DROP TABLE snapshots;
DROP TABLE job_signals;
ALTER TABLE jobs DROP COLUMN preferences;
