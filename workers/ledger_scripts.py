"""The ledger's Lua scripts: each changes several keys at once or not at all.

Times are Redis' own, so that clocks of workers need not agree. Key names are made inside the scripts: Celery's broker
does not run on a Redis Cluster either. Every script begins with PRELUDE.
"""

from __future__ import annotations

PRELUDE = """
local P = 'imagefleet:'
local LEASES = P .. 'leases'
local function job_key(job) return P .. 'job:' .. job end
local function batch_key(job, n) return P .. 'job:' .. job .. ':batch:' .. n end
local function lease(job, n) return job .. ':' .. n end
local t = redis.call('TIME')
local now = tonumber(t[1]) + tonumber(t[2]) / 1000000
local function number(key, field) return tonumber(redis.call('HGET', key, field) or '0') or 0 end

local function is_done(job, n)
  return redis.call('GETBIT', job_key(job) .. ':done', n) == 1
end

local function remember(job)
  local keep = number(job_key(job), 'keep')
  for _, suffix in ipairs({'', ':done', ':failures'}) do
    redis.call('EXPIRE', job_key(job) .. suffix, keep)
  end
end

local function finish_if_complete(job)
  local key = job_key(job)
  local done = number(key, 'indexed') + number(key, 'unchanged') + number(key, 'failed') + number(key, 'cancelled')
  if number(key, 'walked') == 1 and done >= number(key, 'queued') then
    redis.call('HSETNX', key, 'finished', now)
  end
  remember(job)
end

-- Take the batch out of flight; true for the first caller only.
local function close_batch(job, n)
  if redis.call('SETBIT', job_key(job) .. ':done', n, 1) == 1 then return false end
  redis.call('DEL', batch_key(job, n))
  redis.call('ZREM', LEASES, lease(job, n))
  redis.call('HINCRBY', job_key(job), 'open', -1)
  redis.call('HSET', job_key(job), 'changed', now)
  return true
end

local function cancel_batch(job, n)
  local count = number(batch_key(job, n), 'count')
  if close_batch(job, n) then
    redis.call('HINCRBY', job_key(job), 'cancelled', count)
    finish_if_complete(job)
  end
end

local function add_batch(job, images, count, patience)
  local key = job_key(job)
  local n = redis.call('HINCRBY', key, 'batches', 1) - 1
  redis.call('HSET', batch_key(job, n), 'images', images, 'count', count)
  redis.call('ZADD', LEASES, now + patience, lease(job, n))
  redis.call('HINCRBY', key, 'open', 1)
  return n
end

-- Where failures of a library and fingerprint are remembered now, and where they were in the period before.
local function memory(place, period)
  local key, t = P .. 'failed:' .. place .. ':', math.floor(now / period)
  return key .. string.format('%d', t), key .. string.format('%d', t - 1)
end

local function held_by_another(job, n, holder)
  local other = redis.call('HGET', batch_key(job, n), 'holder')
  local deadline = tonumber(redis.call('ZSCORE', LEASES, lease(job, n)) or '0')
  return other and other ~= holder and deadline > now
end
"""

#: job, fields... -> 1
CREATE = """
local job = ARGV[1]
redis.call('HSET', job_key(job), 'created', now, 'seen', now, unpack(ARGV, 2))
redis.call('ZADD', P .. 'jobs', now, job)
remember(job)
return 1
"""

#: job, images, count, patience, ticket -> batch number, -1 if cancelled, -2 if there is no such job
OPEN = """
local job, images, count, patience, ticket = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local key = job_key(job)
if redis.call('EXISTS', key) == 0 then return -2 end
local last = redis.call('HMGET', key, 'ticket', 'ticket_batch')
if ticket ~= '' and last[1] == ticket then return tonumber(last[2]) end
if redis.call('HGET', key, 'cancel') then return -1 end
local n = add_batch(job, images, count, patience)
redis.call('HINCRBY', key, 'queued', count)
redis.call('HSET', key, 'seen', now, 'ticket', ticket, 'ticket_batch', n)
return n
"""

#: job -> 1; a job that is forgotten stays forgotten, and one whose producer lives is not forgotten
TOUCH = """
if redis.call('EXISTS', job_key(ARGV[1])) == 1 then
  redis.call('HSET', job_key(ARGV[1]), 'seen', now)
  remember(ARGV[1])
end
return 1
"""

#: job, skipped, interrupted -> 1
CLOSE_WALK = """
local job, skipped, interrupted = ARGV[1], ARGV[2], ARGV[3]
if redis.call('EXISTS', job_key(job)) == 0 then return 0 end
redis.call('HSET', job_key(job), 'walked', 1, 'skipped', skipped, 'interrupted', interrupted, 'seen', now)
finish_if_complete(job)
return 1
"""

#: job, batch, holder, lease seconds, redelivered
#: -> {'begun', attempt, library, model, images, retry failed ones: 1} or {'gone' | 'held' | 'cancelled'}
BEGIN = """
local job, n, holder, seconds, redelivered = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local key = batch_key(job, n)
if redis.call('EXISTS', key) == 0 or is_done(job, n) then return {'gone'} end
if redis.call('EXISTS', job_key(job)) == 0 then return {'gone'} end  -- forgotten; REVIVE clears what is left
if redis.call('HGET', job_key(job), 'cancel') then
  cancel_batch(job, n)
  return {'cancelled'}
end
if redelivered == '0' and held_by_another(job, n, holder) then return {'held'} end
-- A holder that asks again did not hear the first answer: that is no second attempt.
if redis.call('HGET', key, 'holder') ~= holder then redis.call('HINCRBY', key, 'attempts', 1) end
local attempt = number(key, 'attempts')
local request = redis.call('HMGET', job_key(job), 'library', 'model', 'retry_failed')
redis.call('HSET', key, 'holder', holder)
redis.call('ZADD', LEASES, now + seconds, lease(job, n))
redis.call('HSETNX', job_key(job), 'started', now)
return {'begun', attempt, request[1], request[2], redis.call('HGET', key, 'images'), request[3] or '0'}
"""

#: job, batch, holder, seconds -> 1 held, 0 lost
RENEW = """
local job, n, holder, seconds = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('HGET', batch_key(job, n), 'holder') ~= holder then return 0 end
redis.call('ZADD', LEASES, 'XX', now + seconds, lease(job, n))
return 1
"""

#: job, batch, indexed, unchanged, failed before, failed, place, period, parts of remembered ones,
#: (path, failure)..., (id, state, digest, reason)..., (id of a mended one)... -> 1 counted, 0 was counted before
COMMIT = """
local job, n, indexed, unchanged, before, failed = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local place, period, parts = ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9])
if redis.call('EXISTS', job_key(job)) == 0 then return 0 end
if not close_batch(job, n) then return 0 end
local key = job_key(job)
redis.call('HINCRBY', key, 'indexed', indexed)
redis.call('HINCRBY', key, 'unchanged', unchanged)
redis.call('HINCRBY', key, 'failed', failed)
redis.call('HINCRBY', key, 'failed_before', before)
local first, last = 10, 9 + 2 * failed
for i = first, last, 2 do redis.call('HSET', key .. ':failures', ARGV[i], ARGV[i + 1]) end
if place ~= '' then
  local new, old = memory(place, period)
  first, last = last + 1, last + parts
  for i = first, last, 4 do
    redis.call('HSET', new, ARGV[i], struct.pack('>I4', now) .. ARGV[i + 1])
    redis.call('HSET', new .. ':reasons', ARGV[i + 2], ARGV[i + 3])
  end
  for i = last + 1, #ARGV do redis.call('HDEL', new, ARGV[i]); redis.call('HDEL', old, ARGV[i]) end
  redis.call('EXPIRE', new, 2 * period)
  redis.call('EXPIRE', new .. ':reasons', 2 * period)
end
finish_if_complete(job)
return 1
"""

#: place, period, ids... -> for each id what is remembered and the reason, or two nils
RECALL = """
local new, old = memory(ARGV[1], tonumber(ARGV[2]))
local found = {}
for i = 3, #ARGV do
  local value, reason
  for _, key in ipairs({new, old}) do
    value = value or redis.call('HGET', key, ARGV[i])
    reason = value and (reason or redis.call('HGET', key .. ':reasons', string.sub(value, -8)))
  end
  found[#found + 1] = value or false
  found[#found + 1] = reason or false
end
return found
"""

#: job, batch, holder, attempts to take back -> 1; the lease is due at once
RELEASE = """
local job, n, holder, back = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local key = batch_key(job, n)
if redis.call('HGET', key, 'holder') ~= holder then return 0 end
redis.call('HINCRBY', key, 'attempts', 0 - back)
redis.call('HSET', key, 'holder', '')  -- nobody, though it was begun
redis.call('ZADD', LEASES, 'XX', now, lease(job, n))
return 1
"""

#: job, batch, patience, (images, count, attempts) x 2 -> numbers of the halves, or {} if the batch was closed before
SPLIT = """
local job, n, patience = ARGV[1], ARGV[2], ARGV[3]
if redis.call('EXISTS', job_key(job)) == 0 or not close_batch(job, n) then return {} end
remember(job)
local halves = {}
for i = 4, 7, 3 do
  halves[#halves + 1] = add_batch(job, ARGV[i], ARGV[i + 1], patience)
  redis.call('HSET', batch_key(job, halves[#halves]), 'attempts', ARGV[i + 2])
end
return halves
"""

#: limit, patience -> leases past their deadline
LAPSED = """
-- No lease is that long: the clock was set back since, and without this its batch would be missed for as long.
local far = redis.call('ZRANGEBYSCORE', LEASES, now + 10 * ARGV[2], '+inf', 'LIMIT', 0, ARGV[1])
for _, member in ipairs(far) do redis.call('ZADD', LEASES, now + ARGV[2], member) end
return redis.call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, ARGV[1])
"""

#: job, batch, patience -> {model, count} to send the batch again, or {} if there is nothing to send
REVIVE = """
local job, n, patience = ARGV[1], ARGV[2], ARGV[3]
local key = batch_key(job, n)
local deadline = redis.call('ZSCORE', LEASES, lease(job, n))
if not deadline or tonumber(deadline) > now then return {} end
if redis.call('EXISTS', job_key(job)) == 0 or redis.call('EXISTS', key) == 0 then
  redis.call('DEL', key)
  redis.call('ZREM', LEASES, lease(job, n))
  return {}
end
if redis.call('HGET', job_key(job), 'cancel') then
  cancel_batch(job, n)
  return {}
end
redis.call('ZADD', LEASES, now + patience, lease(job, n))
local model = redis.call('HGET', job_key(job), 'model')
-- A batch that nobody has begun is most likely still in the queue: it is lost only if the queue is empty.
if not redis.call('HGET', key, 'holder') and redis.call('LLEN', 'index.' .. model) > 0 then return {} end
redis.call('HDEL', key, 'holder')
return {model, redis.call('HGET', key, 'count')}
"""

#: job -> 1 cancelled, 0 no such job or finished before
CANCEL = """
local job = ARGV[1]
local key = job_key(job)
if redis.call('EXISTS', key) == 0 or redis.call('HGET', key, 'finished') then return 0 end
redis.call('HSET', key, 'cancel', 1)
return 1
"""

#: job, (batch)... -> 1; batches that a living holder works on are left to it
SWEEP = """
local job = ARGV[1]
for i = 2, #ARGV do
  if not held_by_another(job, ARGV[i], '') then cancel_batch(job, ARGV[i]) end
end
finish_if_complete(job)
return 1
"""
