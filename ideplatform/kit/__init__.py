"""Shared parts without models: each file is a noun, and none imports an app."""
