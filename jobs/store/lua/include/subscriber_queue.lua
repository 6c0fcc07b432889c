-- Messages for services that receive updates over a socket. A script that changes a job also writes the message about
-- it. A queue belongs to one socket at a time and outlives it.
-- include: common, records

-- The word for a job's new state, or nil when subscribers are not told of that state.
local function notice_of(id, state)
  if state == STATE.QUEUED or state == STATE.PAUSED then return NOTICE.QUEUED end
  if state == STATE.RUNNING then return NOTICE.GENERATING end
  if state == STATE.SUCCEEDED then return NOTICE.OK end
  if state == STATE.DELIVERING then
    -- An unsynced subscriber does not wait for the upload: the link to the output is valid already.
    return has(job_of(id).unsynced) and NOTICE.OK or nil
  end
  return NOTICE.ERROR
end

-- Queue the message about a job's new state. A job that runs again is not announced again, and none ends twice.
local function add_notice(id, key, mailbox, state)
  local notice = notice_of(id, state)
  if not notice then return end
  local is_end = notice == NOTICE.OK or notice == NOTICE.ERROR
  local record, told = job_of(id), is_end and 'told_end' or 'told_' .. notice
  if record[told] then return end
  set_job(id, {[told] = notice})
  local name = K.SUBSCRIBER_QUEUE .. key .. ':' .. mailbox
  redis.call('XADD', name, 'MAXLEN', CFG.mailbox_length, '*', 'id', id, 'word', notice, 'ticket',
    record.ticket or '{}')
  redis.call('PEXPIRE', name, CFG.result_ttl_ms)
end
