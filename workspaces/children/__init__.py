"""What runs in disposable children: pure functions from bytes to bytes, no framework."""
