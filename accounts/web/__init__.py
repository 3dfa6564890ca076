"""Server-rendered pages: what they share, and signing in and out with a browser."""
