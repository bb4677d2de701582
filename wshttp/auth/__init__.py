"""Who is it: Basic credentials, the users file, and what makes guessing slow."""
