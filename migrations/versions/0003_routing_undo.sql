-- Back to the order of work; wishes, signals, inputs of decisions and what was learned are forgotten.
DROP TABLE quality_counts;
DROP TABLE feedback;
DROP TABLE calibrations;
DROP INDEX decisions_recent;
ALTER TABLE decisions DROP COLUMN shadow, DROP COLUMN inputs, DROP COLUMN snapshot;
DROP TABLE snapshots;
DROP TABLE job_signals;
ALTER TABLE jobs DROP COLUMN preferences;
