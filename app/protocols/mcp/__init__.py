"""The Model Context Protocol, by which agents call tools: streamable HTTP at ``/mcp``.

Nothing is kept for a session: what belongs to a call is in its job, so that any web process can answer, also after a
restart. [docs/decisions/0057](../../../docs/decisions/0057-mcp.md) has the reasons.
"""
