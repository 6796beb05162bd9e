"""Faust with its holes closed: each class here replaces one of Faust's whose stock behaviour loses
or repeats work. The defect is named in each docstring, and has a test that fails on stock Faust."""
