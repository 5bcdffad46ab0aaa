"""What the validation benchmark compares: each contender is a script, run in a process of its own.

What belongs here: one module per contender, which does the work as its users would, and the frame around them
(`task`). What does not: files, repetitions, tables (`benchmarks.validation`). The peers' packages are in an environment
of their own (`make bench-peers`), so nothing of ours is imported in their modules.
"""
