"""Faust with its defects fixed, and its slow paths shortened.

consumer, thread, recovery, table and transport are for correctness: each class replaces one of
Faust's whose stock behaviour loses or repeats work, or stops it. speed.py has all that is for
speed alone. "Stock:" in a docstring names the defect of faust-streaming 0.15.3 or aiokafka 0.14.0,
with its issue where there is one. A test shows the defect on the stock class
(tests/unit/processor/faust_fixes/test_faust_*.py), and fails when it is gone.

Admission (processor/messages/admission.py) keeps the order of messages whatever Faust does: it
seeks back to any message that was lost on the way to it. So "Needed for:" says what each fix still
serves:

- safety: without it work is lost, or events get out of order, in a way that admission cannot see;
- liveness: without it nothing is lost, but work stalls, is repeated, or waits for a seek back.
"""
