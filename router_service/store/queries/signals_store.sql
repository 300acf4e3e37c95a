-- Keep what was read of jobs. What is there already stays, whoever was first.
INSERT INTO job_signals (job_id, signals)
SELECT job_id, signals FROM json_to_recordset(CAST(:rows AS json)) AS r (job_id uuid, signals json) ORDER BY job_id
ON CONFLICT DO NOTHING
RETURNING job_id
