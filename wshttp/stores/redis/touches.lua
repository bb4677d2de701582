-- Does nothing but what every call begins with: it takes what the node has seen.
return answer('told')
