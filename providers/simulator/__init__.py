"""The simulated provider: a vendor on the wire, for development and for tests.

Owns: a stand-alone HTTP server that speaks the OpenAI, Anthropic and Gemini wire
formats, its scripts, its own ledger of what a vendor would have charged, and the
usage and cost reports made from that ledger.

Never does: touch Django, the database or any part of the platform; it must be able
to disagree with us. It refuses to start in production.

Its walk: ``door.handle`` -> ``dialects.<vendor>.read`` -> ``scripts.ScriptBook.choose``
-> ``answers.compose`` -> ``dialects.<vendor>.frames`` -> ``player.play`` -> ``ledger``.

Same request, same bytes: answer bodies depend on the request body alone (headers
carry a date and a unique request id). Scripts that count are the stated exception.
``docs`` of the script language: ``script.py`` (turns), ``directives.py`` (inline
grammar), ``scripts.py`` (which turn is chosen).
"""
