-- Write a batch's output file (its successes) or error file (the rest), in input order, in chunks of about 1 MB.
-- The answer stands in each line as its provider sent it. Nothing is written where there are no such lines.
WITH lines AS (
  SELECT j.line, convert_to(
    '{"id":"batch_req_' || replace(j.id::text, '-', '') || '","custom_id":' || to_json(j.custom_id)::text
    || ',"response":' || CASE WHEN r.job_id IS NULL THEN 'null' ELSE
      '{"status_code":' || r.status_code || ',"request_id":"req_' || replace(j.id::text, '-', '') || '_' || r.attempt
      || '","body":' || r.body || '}' END
    || ',"error":' || CASE WHEN r.job_id IS NOT NULL THEN 'null' ELSE json_build_object(
      'code', CASE j.state WHEN 'cancelled' THEN 'batch_cancelled' WHEN 'expired' THEN 'batch_expired'
              ELSE coalesce(j.error_code, 'failed') END,
      'message', coalesce(j.error_message, 'the job failed'))::text END
    || E'}\n', 'UTF8') AS data
  FROM jobs j LEFT JOIN job_results r ON r.job_id = j.id
  WHERE j.batch_id = :batch_id AND (j.state = 'succeeded') = :succeeded
), placed AS (
  SELECT line, data, sum(octet_length(data)) OVER (ORDER BY line) / 1000000 AS piece FROM lines
), chunks AS (
  SELECT row_number() OVER (ORDER BY piece) - 1 AS seq, string_agg(data, ''::bytea ORDER BY line) AS data
  FROM placed GROUP BY piece
), file AS (
  INSERT INTO files (id, tenant_id, purpose, filename, bytes)
  SELECT :file_id, :tenant_id, 'batch_output', :filename, sum(octet_length(data)) FROM chunks HAVING count(*) > 0
  RETURNING id
), written AS (
  INSERT INTO file_chunks (file_id, seq, data) SELECT f.id, c.seq, c.data FROM file f CROSS JOIN chunks c
)
SELECT id FROM file
