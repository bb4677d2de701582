-- The secret of all nodes: the one that is there, or else the one that the caller has made.
redis.call('HSETNX', root .. ':meta', 'secret', given(1))
return answer('secret', redis.call('HGET', root .. ':meta', 'secret'))
