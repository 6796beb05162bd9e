"""The read model: jobs in a SQLite file, filled from the topics, rebuilt from them at any restart.

Begin with read_model.py: it names the path of a message from the topics to an answer.
"""
