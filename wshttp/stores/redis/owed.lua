-- Counts what is not settled.
return answer('count', tonumber(redis.call('HGET', root .. ':meta', 'owed') or 0))
