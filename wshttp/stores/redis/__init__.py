"""Redis and Valkey: the session store, and what nodes share besides. Imported only where a setting chose it."""
