"""REST edge of accounts: signing in, one's own account, organizations."""
