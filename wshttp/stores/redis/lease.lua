-- Renews the caller's lease, and says whether it still held.
return answer('renewed', renew_lease(me, lease))
