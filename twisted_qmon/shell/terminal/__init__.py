"""
The prompt: a line editor (prompt_toolkit) beside a reconnecting L{QMPClient}, both on one asyncio loop. Start with
L{run_prompt<twisted_qmon.shell.terminal.loop.run_prompt>}.

prompt_toolkit runs on asyncio, and Twisted has a reactor on asyncio. The alternative, an asyncio transport under the client's
sans-IO session, would have needed a second implementation of reconnecting, of time limits and of Twisted's endpoints.
"""
