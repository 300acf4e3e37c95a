-- Put queued jobs into another lane, by epoch: they wait for another model than the rest of theirs.
UPDATE jobs j SET lane = m.lane
FROM json_to_recordset(CAST(:rows AS json)) AS m (id uuid, epoch integer, lane bigint)
WHERE j.id = m.id AND j.state = 'queued' AND j.epoch = m.epoch
RETURNING j.id
