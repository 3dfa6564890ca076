"""Conversations, runs and the agents that answer.

Owns: conversations, runs, their journal and leases, agents, tools, the agent socket.
Never does: vendor calls, prices, file bytes, document state.
Walk: `AgentStream.receive` -> `runs.open_run` -> `execute_run` -> `runtime.execute` -> `journal`.
"""
