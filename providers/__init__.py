"""The one paid door: vendor accounts, catalogue, routing, adapters.

Owns: providers, their models, aliases and health; every call to a vendor.
Never does: know agents or runs; keep a key outside the vault; decide prices.
Walk: `services.gateway.stream(call)` -> route -> adapter -> chunks -> settle.
"""
