-- Pause a model: no reservation until then. A longer pause stays.
--
-- KEYS  1 pause string (see reserve.lua)
-- ARGV  1 pause_ms
-- reply the pause in force, ms
local asked, left = tonumber(ARGV[1]), redis.call('PTTL', KEYS[1])
if asked > left then redis.call('SET', KEYS[1], '1', 'PX', asked) return asked end
return left
