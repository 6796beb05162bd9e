"""The scout: reads ahead of long queues, so that one owner's backlog does not hide another's."""
