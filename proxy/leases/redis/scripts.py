"""What the Redis server does for the lease store: Lua scripts, each one atomic step and one round trip (rule N8).

The keys, all in the database that the URL names:
- `popgate:lease:ADDRESS`: a hash, SOURCE:LOGIN to five whole numbers: when the lease ends, when it was granted,
  messages and recipients charged to it, when that count ends.  Times are epoch microseconds, by the server's clock.
- `popgate:login:LOGIN`: a sorted set, the addresses that the login holds by when it does so no more: for revocations.
- `popgate:state`: a hash: `id` names the life of this store, from one loss to the next; `since` when that began;
  `until` when "no lease" is a fact again after a loss; `revoked` counts revocations.
- `popgate:revoked`: a list, the latest revocations, for nodes that would bring a lease back after a loss.
Grants are published to the channel `popgate:granted:DATABASE` (channels are not divided into databases).

Promises: only the server's clock is used (TIME, which stands still within a script), and what goes in and comes out is
a length of time, so that the clocks of the nodes don't matter (rule G8); a lease ends at its microsecond, also where
its row is still there; every key but `popgate:state` has an end of its own and vanishes when nobody asks any more.

A sorted set per address was rejected: a lease is more than its end, and two keys would have to agree.  So were Redis
functions (an administrator would have to install them) and an end per field (HPEXPIRE: Redis 7.4, not in Valkey 8).
The scripts work on keys that they find in other keys, so a Redis *cluster* can't run them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

REVOKED_MAX: Final = 1000
"""Revocations that are remembered; a node that missed more of them brings nothing back after a loss."""
REVOKED_FOR: Final = 86_400_000
"""Milliseconds for which they are remembered past the last: twice the longest life of a lease, `gate.max_age`."""
THERE: Final = 1
"""The fate of a lease that was to be brought back: it is in the store, or one that reaches further."""
NO_ROOM: Final = 0
"""It would have been one too many for its limit."""
REVOKED: Final = -1
"""It may have been revoked: ask what happened, and perhaps again."""

SERVER_TIME: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
"""
_COMMON: Final = """
local function int(number) return string.format('%.0f', number) end  -- tostring() keeps 14 digits, we need 16
local function numbers(row)
  local ends, granted, messages, recipients, counted = string.match(row, '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  return tonumber(ends), tonumber(granted), tonumber(messages), tonumber(recipients), tonumber(counted)
end
local function row(ends, granted, messages, recipients, counted)
  return table.concat({int(ends), int(granted), int(messages), int(recipients), int(counted)}, ' ')
end
local function login_of(name) return string.sub(name, string.find(name, ':', 1, true) + 1) end
local function lives_until(key, ends)
  local ms = int(math.ceil(ends / 1000) + 1)
  redis.call('PEXPIREAT', key, ms, 'NX')
  redis.call('PEXPIREAT', key, ms, 'GT')
end
local function index(login, address, ends)
  local key = 'popgate:login:' .. login
  redis.call('ZADD', key, 'GT', int(ends), address)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', int(now))
  lives_until(key, ends)
end
local function state()
  local found = redis.call('HMGET', 'popgate:state', 'id', 'until', 'revoked')
  return found[1] or '', (tonumber(found[2]) or 0) > now and 1 or 0, tonumber(found[3]) or 0
end
local function listed(answer, name, text)
  local ends, granted, messages, recipients, counted = numbers(text)
  if ends > now then
    if counted <= now then messages, recipients = 0, 0 end
    for _, item in ipairs({name, ends - now, granted, messages, recipients}) do answer[#answer + 1] = item end
  end
end
"""

# ADDRESS -> state, then five items for each live lease: source:login, time left, granted, messages, recipients
_FIND: Final = """
local answer = {state()}
local held = redis.call('HGETALL', 'popgate:lease:' .. ARGV[1])
for i = 1, #held, 2 do listed(answer, held[i], held[i + 1]) end
return answer
"""

# ADDRESS SOURCE:LOGIN LENGTH LIMIT CHANNEL -> state, logins that hold the address
_GRANT: Final = """
local address, name, length, limit, channel = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local key, login = 'popgate:lease:' .. address, login_of(name)
local held, holds, count = redis.call('HGETALL', key), {}, 0
local messages, recipients, counted = 0, 0, 0
for i = 1, #held, 2 do
  local ends, _, m, r, c = numbers(held[i + 1])
  if held[i] == name then messages, recipients, counted = m, r, c end
  if ends <= now then
    redis.call('HDEL', key, held[i])
  elseif not holds[login_of(held[i])] then
    holds[login_of(held[i])] = true
    count = count + 1
  end
end
local id, lost, revoked = state()
if not holds[login] then count = count + 1 end
if limit > 0 and count > limit and not holds[login] then return {id, lost, revoked, count} end
redis.call('HSET', key, name, row(now + length, now, messages, recipients, counted))
lives_until(key, now + length)
index(login, address, now + length)
redis.call('PUBLISH', channel, address)
if limit > 0 then count = math.min(count, limit) end  -- above the limit means: nothing made
return {id, lost, revoked, count}
"""

# CHANNEL KNOWN-ID HEARD, then for each: ADDRESS SOURCE:LOGIN LEFT AGE LIMIT -> state, then for each its fate.  Grants
# that had to wait, or that a loss took: not over a lease that reaches further, not into a store that whoever asks does
# not know yet, and not what was revoked after the first HEARD revocations, of which he has not heard.
_BRING_BACK: Final = (
    """
local id, lost, revoked = state()
local answer, heard, gone = {id, lost, revoked}, tonumber(ARGV[3]), {}
local unknown = id ~= ARGV[2]
if not unknown and revoked > heard then
  local latest = redis.call('LRANGE', 'popgate:revoked', heard - revoked, -1)
  unknown = #latest < revoked - heard
  for _, entry in ipairs(latest) do gone[string.match(entry, '^%d+ (.*)$')] = true end
end
for i = 4, #ARGV, 5 do
  local address, name, left, age = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3]
  local limit = tonumber(ARGV[i + 4])
  local key, login, holds, count = 'popgate:lease:' .. address, login_of(name), {}, 0
  local old = redis.call('HGET', key, name)
  local ends, granted, messages, recipients, counted = 0, 0, 0, 0, 0
  if old then ends, granted, messages, recipients, counted = numbers(old) end
  local fate = THERE
  if unknown or gone[address .. ' =' .. login] or gone[address .. ' *'] or gone['* =' .. login] then
    fate = REVOKED
  elseif limit > 0 and ends <= now then
    local held = redis.call('HGETALL', key)
    for j = 1, #held, 2 do
      if numbers(held[j + 1]) > now and not holds[login_of(held[j])] then
        holds[login_of(held[j])] = true
        count = count + 1
      end
    end
    if not holds[login] and count >= limit then fate = NO_ROOM end
  end
  if fate == THERE and left > 0 and now + left > ends then
    redis.call('HSET', key, name, row(now + left, now - age, messages, recipients, counted))
    lives_until(key, now + left)
    index(login, address, now + left)
    redis.call('PUBLISH', ARGV[1], address)
  end
  answer[#answer + 1] = fate
end
return answer
""".replace("THERE", str(THERE))
    .replace("REVOKED", str(REVOKED))
    .replace("NO_ROOM", str(NO_ROOM))
)

# for each: ADDRESS SOURCE:LOGIN AHEAD
_RENEW: Final = """
for i = 1, #ARGV, 3 do
  local key, name, new = 'popgate:lease:' .. ARGV[i], ARGV[i + 1], now + ARGV[i + 2]
  local old = redis.call('HGET', key, name)
  if old then
    local ends, granted, messages, recipients, counted = numbers(old)
    if ends > now and ends < new then
      redis.call('HSET', key, name, row(new, granted, messages, recipients, counted))
      lives_until(key, new)
      index(login_of(name), ARGV[i], new)
    end
  end
end
return {state()}
"""

# ADDRESS SOURCE:LOGIN MESSAGES RECIPIENTS SPAN
_CHARGE: Final = """
local key = 'popgate:lease:' .. ARGV[1]
local old = redis.call('HGET', key, ARGV[2])
if old then
  local ends, granted, messages, recipients, counted = numbers(old)
  if ends > now then
    if counted <= now then messages, recipients, counted = 0, 0, now + ARGV[5] end
    redis.call('HSET', key, ARGV[2], row(ends, granted, messages + ARGV[3], recipients + ARGV[4], counted))
  end
end
return {state()}
"""

# ADDRESS or *, =LOGIN or * -> state, live leases that were ended
_REVOKE: Final = """
local ended = 0
local login = ARGV[2] ~= '*' and string.sub(ARGV[2], 2) or nil
local addresses = {ARGV[1]}
if ARGV[1] == '*' then addresses = redis.call('ZRANGE', 'popgate:login:' .. login, 0, -1) end
for _, address in ipairs(addresses) do
  local key = 'popgate:lease:' .. address
  local held = redis.call('HGETALL', key)
  for i = 1, #held, 2 do
    local whose = login_of(held[i])
    if not login or login == whose then
      if numbers(held[i + 1]) > now then ended = ended + 1 end
      redis.call('HDEL', key, held[i])
      redis.call('ZREM', 'popgate:login:' .. whose, address)
    end
  end
end
redis.call('HINCRBY', 'popgate:state', 'revoked', 1)
redis.call('RPUSH', 'popgate:revoked', int(now) .. ' ' .. ARGV[1] .. ' ' .. ARGV[2])
redis.call('LTRIM', 'popgate:revoked', -REVOKED_MAX, -1)
redis.call('PEXPIRE', 'popgate:revoked', REVOKED_FOR)
local id, lost, revoked = state()
return {id, lost, revoked, ended}
""".replace("REVOKED_MAX", str(REVOKED_MAX)).replace("REVOKED_FOR", str(REVOKED_FOR))

# CURSOR COUNT -> state, cursor, then six items for each live lease: address, and what FIND has
_LIST: Final = """
local step = redis.call('SCAN', ARGV[1], 'MATCH', 'popgate:lease:*', 'COUNT', ARGV[2])
local id, lost, revoked = state()
local answer = {id, lost, revoked, step[1]}
for _, key in ipairs(step[2]) do
  local held = redis.call('HGETALL', key)
  for i = 1, #held, 2 do
    local one = {}
    listed(one, held[i], held[i + 1])
    if #one > 0 then
      answer[#answer + 1] = string.sub(key, 15)
      for _, item in ipairs(one) do answer[#answer + 1] = item end
    end
  end
end
return answer
"""

# KNOWN-ID NEW-ID WINDOW SEEN -> state, 1 if some of the revocations since SEEN are forgotten, then for each: time gone
# by, ADDRESS or *, =LOGIN or *.  A store without an id was emptied, or never used: whoever knew another one tells.
_NOTICE: Final = """
local known, window, seen = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local id = redis.call('HGET', 'popgate:state', 'id')
if not id then
  id = ARGV[2]
  redis.call('HSET', 'popgate:state', 'id', id, 'since', int(now))
end
if known ~= '' and known ~= id then
  local since, till = unpack(redis.call('HMGET', 'popgate:state', 'since', 'until'))
  local ends = since + window
  if ends > (tonumber(till) or 0) then redis.call('HSET', 'popgate:state', 'until', int(ends)) end
  seen = 0
end
local id, lost, revoked = state()
local answer = {id, lost, revoked, 0}
if revoked > seen then
  local latest = redis.call('LRANGE', 'popgate:revoked', seen - revoked, -1)
  if #latest < revoked - seen then answer[4] = 1 end
  for _, entry in ipairs(latest) do
    local at, address, login = string.match(entry, '^(%d+) (%S+) (.*)$')
    for _, item in ipairs({now - at, address, login}) do answer[#answer + 1] = item end
  end
end
return answer
"""


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the digest by which a server that has seen it knows it."""

    text: str
    """Lua."""
    digest: str = field(init=False)
    """SHA-1, in hexadecimal."""

    def __post_init__(self) -> None:
        # SHA-1 is Redis's name for it, not a protection.
        object.__setattr__(self, "digest", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


ALL: Final = [
    Script(SERVER_TIME + _COMMON + body)
    for body in (_FIND, _GRANT, _BRING_BACK, _RENEW, _CHARGE, _REVOKE, _LIST, _NOTICE)
]
FIND, GRANT, BRING_BACK, RENEW, CHARGE, REVOKE, LIST, NOTICE = ALL
