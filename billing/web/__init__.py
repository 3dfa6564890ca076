"""The customer's dashboard: server-rendered pages over the selectors and services of billing."""
