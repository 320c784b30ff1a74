"""Commands for the shell: the two twistd plugins, the client and the simulator.

Only this part uses the global reactor.
"""
