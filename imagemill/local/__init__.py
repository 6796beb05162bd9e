"""The whole system on one machine: broker and services under a supervisor, data in one folder."""
