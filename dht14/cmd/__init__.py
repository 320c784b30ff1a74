"""What is typed at a shell: the two twistd plugins, the client and the simulator. Only here is the global reactor touched."""
