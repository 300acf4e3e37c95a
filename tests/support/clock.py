"""Time passes by moving what Redis keeps back: tests of minutes, hours and days without waiting for them.

The clock knows the keys that `capacity/scope.lua` describes. Logs remember starts in buckets, so time passes in whole buckets:
50 ms, or a minute where a rate of a day is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis import Redis

GRAIN_MS = 50
DAY_GRAIN_MS = 60_000

IS_COUNTED_BY_DAY = """
for _, name in ipairs({'rpd', 'tpd'}) do
  if #redis.call('KEYS', 'waybill:log:' .. name .. ':*') > 0 then return 1 end
end
return 0
"""

# ARGV  1 milliseconds
MOVE = """
local SUMS, gap = '<fffffffffffffd', tonumber(ARGV[1])

local function is_moment(field)
  local last = string.match(field, '[^:]*$')
  return last == 'free' or last == 'last' or last == 'until' or last == 'hungry' or last == 'kept'
    or string.match(field, '_until$') or string.match(field, '_at$')
end

local move = {}
function move.slots(key)
  for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, -gap, member) end
end
move.places = move.slots

function move.state(key)
  local flat = redis.call('HGETALL', key)
  for i = 1, #flat, 2 do
    if is_moment(flat[i]) then redis.call('HSET', key, flat[i], string.format('%.3f', tonumber(flat[i + 1]) - gap)) end
    if flat[i] == 'sums' then
      local sums = {struct.unpack(SUMS, flat[i + 1])}
      sums[14] = sums[14] - gap
      redis.call('HSET', key, 'sums', struct.pack(SUMS, unpack(sums, 1, 14)))
    end
  end
end

function move.log(key)
  local name = string.match(key, '^waybill:log:(%a+):')
  local buckets = gap / ((name == 'rpd' or name == 'tpd') and 60000 or 50)
  local entries = redis.call('ZRANGE', key, 0, -1)
  redis.call('DEL', key)
  for _, member in ipairs(entries) do
    local at, units = string.match(member, '^(%d+):(.*)$')
    local moved = string.format('%.0f', tonumber(at) - buckets)
    redis.call('ZADD', key, moved, moved .. ':' .. units)
  end
end

for _, key in ipairs(redis.call('KEYS', 'waybill:*:*')) do
  local action, left = move[string.match(key, '^waybill:(%a+):')], redis.call('PTTL', key)
  if action then
    action(key)
    if left >= 0 then redis.call('PEXPIRE', key, left - gap) end
  end
end
"""


class Clock:
    """`passed_ms`: how far it is ahead of Redis' own clock. Give it a user who may look at all keys."""

    def __init__(self, admin: Redis) -> None:
        self._admin = admin
        self.passed_ms = 0

    def pass_by(self, gap_s: float) -> None:
        """So many seconds, rounded up to whole buckets."""
        grain_ms = DAY_GRAIN_MS if self._admin.eval(IS_COUNTED_BY_DAY, 0) else GRAIN_MS
        gap_ms = -int(-gap_s * 1000 // grain_ms) * grain_ms
        self._admin.eval(MOVE, 0, str(gap_ms))
        self.passed_ms += gap_ms
