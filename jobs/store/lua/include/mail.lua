-- Mail: what a service that works through sockets is told of its jobs, written together with the change it tells of.
-- A mailbox belongs to one socket at a time and outlives it. Shared by all scripts, after hooks.lua.
local WORDS = {queued = 'queued', running = 'generating', succeeded = 'ok', failed = 'error', cancelled = 'error', expired = 'error'}

note_mail = function(id, key, mailbox, state)
  local word = WORDS[state]
  -- The caller does not wait for the upload: its link is right already.
  if state == 'delivering' and has(job_get(id, 'unsynced')) then word = 'ok' end
  if not word then return end
  -- A job that runs again is not told of again, and none ends twice.
  local ends = word == 'ok' or word == 'error'
  if redis.call('HSETNX', K.JOB .. id, ends and 'told_end' or 'told_' .. word, word) == 0 then return end
  local name = K.MAIL .. key .. ':' .. mailbox
  local ticket = job_get(id, 'ticket') or '{}'
  redis.call('XADD', name, 'MAXLEN', CFG.mailbox_length, '*', 'id', id, 'word', word, 'ticket', ticket)
  redis.call('PEXPIRE', name, CFG.result_ttl_ms)
end
