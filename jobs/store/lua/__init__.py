"""The Lua scripts, and what turns them into the text that Redis runs."""
